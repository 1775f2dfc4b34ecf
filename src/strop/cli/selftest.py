"""``strop selftest``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, observer, print_json


@click.command()
@click.option("--trials", default=200, show_default=True, help="Trials with two equal arms.")
@click.option("--seconds", default=300.0, show_default=True, help="Stop after this long; fewer trials are then reported.")
@click.option("--seed", default=0, show_default=True, help="Of coins and processes.")
@as_json
def command(trials: int, seconds: float, seed: int, as_json: bool) -> int:
    """Test the measuring itself on this machine: equal arms must not be called faster, planted gains must be found."""
    from strop.testing.selftest import selftest

    report = selftest(trials, seconds, observer(hidden=as_json), seed=seed)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.describe())
    return 0 if report.passed else 1
