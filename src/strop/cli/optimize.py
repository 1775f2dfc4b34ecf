"""``strop optimize``."""

from __future__ import annotations

import click

from strop.cli._shared import as_json, hub_options, observer, print_json, quiet, reference, terminal_width


@click.command()
@reference
@click.option(
    "--aim", default="latency", show_default=True, help="latency, throughput (also of trainings), or goodput (of services)."
)
@click.option("--max-drop", default="1%", show_default=True, help="Quality that may be lost: 1% (of the original), 1pt or 0.01.")
@click.option("--budget", default="10m", show_default=True, help="Time for everything, for instance 90s or 4m.")
@click.option("--out", default=None, help="Run directory.  [default: runs/NAME]")
@click.option("--only", default=None, help="Numbers or names of the instructions to try, separated by commas.")
@click.option("--seed", default=0, show_default=True, help="Of coins, inputs and preparations.")
@click.option("--strict", is_flag=True, help="Allow a false claim with 1 % instead of 5 % probability.")
@click.option("--exact", is_flag=True, help="Confirm by an exact sign-flip test.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@hub_options
@as_json
@quiet
def command(
    workload: str,
    only: str | None,
    as_json: bool,
    quiet: bool,
    resume: bool,
    aim: str,
    max_drop: str,
    budget: str,
    out: str | None,
    seed: int,
    strict: bool,
    exact: bool,
    task: str,
    data: str,
    text: str,
    label: str,
) -> int:
    """Find what makes WORKLOAD faster here without losing quality, and prove it.

    WORKLOAD is a Python file (path.py or path.py:function) or hf:FOLDER-OR-ID. Of a training workload the settings of its
    training are tried; the result is a recipe for strop train. Of a serving workload (--aim goodput) ways of batching are
    tried on real servers under its load; the result is a recipe for strop serve.
    """
    from strop.api.optimize import optimize
    from strop.report.text import render_summary

    result = optimize(
        workload, aim=aim, max_drop=max_drop, budget=budget, out=out, seed=seed, strict=strict, exact=exact, resume=resume,
        only=() if only is None else only, observer=observer(hidden=as_json or quiet),
        task=task, data=data, text=text, label=label,
    )  # fmt: skip
    if as_json:
        print_json(result.report.to_json())
    else:
        click.echo(render_summary(result.report, terminal_width()))
        click.echo(f"Report: {result.folder / 'report.html'}" + (f"   Bundle: {result.bundle}" if result.bundle else ""))
    return result.exit_code
