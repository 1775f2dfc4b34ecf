"""``strop explain``."""

from __future__ import annotations

import dataclasses

import click

from strop.cli._shared import as_json, print_json


@click.command()
@click.argument("entry")
@as_json
def command(entry: str, as_json: bool) -> None:
    """Explain one entry of the catalogue by number, name or alias."""
    from strop import catalogue
    from strop.contract.pages import sections, summary

    row = catalogue.row(entry)
    if as_json:
        card = dataclasses.asdict(row.cls.card) if row.cls else None
        text = row.cls.__doc__ if row.cls else row.summary
        print_json({"number": row.number, "name": row.name, "family": row.family, "life": row.life, "card": card, "text": text})
    elif row.cls is None:
        click.echo(f"{row.number:02d} {row.name} ({row.family}): planned, not built.\n\n{row.summary}")
    else:
        click.echo(f"{row.number:02d} {row.name} ({row.family}, {row.life})\n\n{summary(row.cls)}.")
        for heading, text in sections(row.cls).items():
            click.echo(f"\n{heading}\n" + "\n".join(f"  {line}" for line in text.splitlines()))
