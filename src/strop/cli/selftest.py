"""``strop selftest``."""

from __future__ import annotations

from typing import Any

import click

from strop.cli._shared import as_json, observer, print_json


@click.command()
@click.option("--trials", default=200, show_default=True, help="Trials with two equal arms.")
@click.option(
    "--seconds",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after this long; fewer trials are then reported.",
)
@click.option("--seed", default=0, show_default=True, help="Of coins and processes.")
@as_json
def command(trials: int, seconds: float, seed: int, as_json: bool) -> int:
    """Test the measuring itself on this machine: equal arms must not be called faster, planted gains must be found."""
    from strop.testing.selftest import selftest
    from strop.units import show_seconds, show_share

    report = selftest(trials, seconds, observer(hidden=as_json), seed=seed)
    _note(report.to_json())
    if as_json:
        print_json(report.to_json())
        return 0 if report.sound else 1
    low, high = report.false_rate
    took, voided = show_seconds(report.seconds), show_share(report.void_share)
    click.echo(f"{report.trials} of {report.asked} trials in {took}; {voided} of the pairs voided because the machine was busy")
    rate = f"{show_share(low)} to {show_share(high)} (promised: at most {show_share(report.alpha)})"
    click.echo(f"equal arms called faster: {report.false_faster} times, rate {rate}")
    for plant in report.plants:
        click.echo(
            f"planted {show_share(plant.plant)}: {plant.right} of {plant.trials} found, {plant.wrong} in the wrong direction, "
            f"bias {show_share(plant.bias)}, {plant.pairs:.0f} pairs"
        )
    click.echo("The instrument keeps its promise here." if report.sound else "The instrument does NOT keep its promise here.")
    return 0 if report.sound else 1


def _note(report: dict[str, Any]) -> None:
    """Keep the result for the reports of runs to come."""
    from strop.errors import StropError
    from strop.ledger.files import write_json
    from strop.places import cache_folder

    try:
        write_json(cache_folder() / "selftest.json", report)
    except StropError as error:
        click.echo(f"strop: reports will not show this self-test, as it could not be noted: {error}", err=True)
