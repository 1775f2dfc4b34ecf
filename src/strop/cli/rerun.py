"""``strop rerun``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, observer, print_json


@click.command()
@click.argument("run")
@click.option("--out", default=None, help="Directory of the rerun.  [default: RUN-rerun-N]")
@as_json
def command(run: str, out: str | None, as_json: bool) -> int:
    """Prepare and measure the claim of RUN again, and say whether it holds here. Exit code 1 if the verdict changed."""
    from strop.api.rerun import rerun
    from strop.units import show_speedup

    rows = rerun(run, out=out, observer=observer(hidden=as_json))
    if as_json:
        print_json(
            [
                {
                    "point": row.point, "inside": row.inside, "same_verdict": row.same_verdict,
                    "then": row.then.to_json(), "now": row.now.to_json(), "expected": row.expected.to_json(),
                }
                for row in rows
            ]
        )  # fmt: skip
    else:
        for row in rows:
            s, e = row.now.speedup, row.expected
            place = "inside" if row.inside else "OUTSIDE"
            click.echo(
                f"{row.point}: {row.now.verdict} (then {row.then.verdict})  {show_speedup(s.low, s.estimate, s.high)}, "
                f"{place} the predicted {e.low:.2f} to {e.high:.2f}"
            )
    return 0 if all(row.same_verdict for row in rows) else 1
