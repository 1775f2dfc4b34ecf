"""``strop explain``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from strop.cli._shared import as_json, print_json

if TYPE_CHECKING:
    from strop.contract.card import Card


@click.command()
@click.argument("entry")
@as_json
def command(entry: str, as_json: bool) -> None:
    """Explain one entry of the catalogue by number, name or alias."""
    from strop import catalogue
    from strop.contract.pages import sections, summary

    row = catalogue.row(entry)
    if as_json:
        card = _plain(row.cls.card) if row.cls else None
        text = row.cls.__doc__ if row.cls else row.summary
        print_json({"number": row.number, "name": row.name, "family": row.family, "life": row.life, "card": card, "text": text})
    elif row.cls is None:
        click.echo(f"{row.number:02d} {row.name} ({row.family}): planned, not built.\n\n{row.summary}")
    else:
        click.echo(f"{row.number:02d} {row.name} ({row.family}, {row.life})\n\n{summary(row.cls)}.")
        for heading, text in sections(row.cls).items():
            click.echo(f"\n{heading}\n" + "\n".join(f"  {line}" for line in text.splitlines()))


def _plain(card: Card) -> dict[str, Any]:
    """Write a card's sets as sorted lists and its grades as words."""
    grades = {"fidelity": card.fidelity.name.lower(), "cost": card.cost.name.lower()}
    return {**dataclasses.asdict(card), "aims": sorted(card.aims), **grades}
