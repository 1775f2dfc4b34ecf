"""``strop compare``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, hub_options, observer, print_json, reference


@click.command()
@reference
@click.argument("first")
@click.argument("second")
@click.option("--max-drop", default="1%", show_default=True, help="Quality that SECOND may lose: 1%, 1pt or 0.01.")
@click.option("--rounds", default=5, show_default=True, help="Fresh pairs of processes.")
@click.option("--pairs", default=16, show_default=True, help="Pairs of blocks in each round.")
@click.option("--out", default=None, help="Run directory.  [default: runs/compare-TIME]")
@click.option("--seed", default=0, show_default=True, help="Of coins, inputs and preparations.")
@hub_options
@as_json
def command(
    workload: str,
    first: str,
    second: str,
    max_drop: str,
    rounds: int,
    pairs: int,
    out: str | None,
    seed: int,
    as_json: bool,
    **hub: str,
) -> None:
    """Measure recipe SECOND against recipe FIRST on WORKLOAD, side by side on fresh processes."""
    from strop.api.compare import compare
    from strop.units import show_speedup

    found = compare(
        workload, first, second, max_drop=max_drop, rounds=rounds, pairs=pairs, out=out, seed=seed,
        observer=observer(hidden=as_json), **hub,
    )  # fmt: skip
    if as_json:
        print_json(
            {
                "comparisons": {point: comparison.to_json() for point, comparison in found.comparisons.items()},
                "quality": found.quality.to_json() if found.quality else None,
            }
        )
        return
    for point, comparison in found.comparisons.items():
        s = comparison.speedup
        click.echo(f"{point}: {comparison.verdict}  {show_speedup(s.low, s.estimate, s.high)}")
    click.echo(f"quality: {found.quality.guard}: {found.quality.describe()}" if found.quality else "quality: not judged")
    doubts = [doubt for comparison in found.comparisons.values() for doubt in comparison.findings]
    for doubt in dict.fromkeys([*doubts, *(found.quality.findings if found.quality else ())]):
        click.echo(f"doubt: {doubt.message}; {doubt.advice}")
