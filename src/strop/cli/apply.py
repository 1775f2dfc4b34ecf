"""``strop apply``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, hub_options, observer, print_json, reference


@click.command()
@click.argument("recipe")
@reference
@click.option("--out", required=True, help="Folder of the bundle.")
@click.option("--seed", default=0, show_default=True, help="Of every random choice.")
@hub_options
@as_json
def command(recipe: str, workload: str, out: str, seed: int, as_json: bool, **hub: str) -> None:
    """Prepare RECIPE for WORKLOAD and write a bundle. Nothing is compared."""
    from strop.api.apply import apply

    manifest = apply(recipe, workload, out=out, seed=seed, observer=observer(hidden=as_json), **hub)
    if as_json:
        print_json(manifest.to_json())
        return
    for name, counts in manifest.tallies.items():
        click.echo(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    click.echo(f"Bundle: {out} ({manifest.engine}, {len(manifest.files)} files)")
