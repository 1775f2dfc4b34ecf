"""``strop list``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, print_json


@click.command()
@click.option("--family", default="", help="Only one family: data, training, inference, deployment or trust.")
@as_json
def command(family: str, as_json: bool) -> None:
    """List the catalogue: every number, and whether it is built or planned."""
    from strop import catalogue
    from strop.contract.card import Family
    from strop.errors import UsageError, did_you_mean

    families = [str(f) for f in Family]
    if family and family not in families:
        raise UsageError(f"there is no family {family!r}.{did_you_mean(family, families)}")
    rows = [row for row in catalogue.all() if not family or row.family == family]
    if as_json:
        keys = ("number", "name", "family", "life", "summary")
        print_json([{key: getattr(row, key) for key in keys} for row in rows])
        return
    for row in rows:
        click.echo(f"{row.number:02d}  {row.name:<30} {row.family:<11} {row.life:<9} {row.summary}")
    built = sum(row.cls is not None for row in rows)
    click.echo(f"\n{len(rows)} numbers: {built} built, {len(rows) - built} planned. Details: strop explain NUMBER-OR-NAME")
