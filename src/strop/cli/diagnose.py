"""``strop diagnose``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, hub_options, observer, print_json, reference


@click.command()
@reference
@click.option("--seed", default=0, show_default=True, help="Of the model's random initialisation, if it has one.")
@hub_options
@as_json
def command(workload: str, seed: int, as_json: bool, **hub: str) -> None:
    """Show where WORKLOAD's time goes, what limits it, and which instructions that speaks for."""
    from strop.api.diagnose import diagnose
    from strop.units import show_share

    found = diagnose(workload, seed=seed, observer=observer(hidden=as_json), **hub)
    if as_json:
        print_json(found.to_json())
        return
    for point in found.points:
        click.echo(f"\n{point.point}: {point.bottleneck}\n  {point.reason}")
        for operator in point.operators[:8]:
            click.echo(f"  {show_share(operator.share):>8}  {operator.name}  × {operator.calls}")
    click.echo("\nWorth trying:")
    for suggestion in found.suggestions:
        click.echo(f"  {suggestion.number:02d} {suggestion.name}: {suggestion.reason}")
