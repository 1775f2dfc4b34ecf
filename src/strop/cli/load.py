"""``strop load``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strop.cli._shared import as_json, print_json, quiet, terminal_width

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strop.load.run import Watch
    from strop.load.samples import Outcome


@click.command()
@click.argument("url")
@click.option(
    "--rate", "rates", multiple=True, default=("100/s",), show_default=True, help="Requests per second; repeat for a sweep."
)
@click.option("--seconds", default="30s", show_default=True, help="Duration of each rate.")
@click.option("--warmup", default=None, help="Time before it, sent at the same rate and not counted.  [default: none]")
@click.option("--arrivals", default="poisson", show_default=True, help="poisson, uniform, bursts:8, or a CSV file of times.")
@click.option("--objective", default=None, help="Latency to be kept, for instance 50ms; gives the goodput.")
@click.option("--model", default=None, help="Name of the model.  [default: the only one]")
@click.option("--version", default=None, help="Version of the model.  [default: the server's choice]")
@click.option("--input", "source", default=None, help="Requests: a .json file, or .jsonl with one per line.  [default: random]")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(min=1), help="Rows of a random request.")
@click.option("--length", default="16", show_default=True, help="Other dimensions that vary, in random requests: 128 or 8-128.")
@click.option("--binary", is_flag=True, help="Random tensors as raw bytes (binary tensor extension).")
@click.option("--timeout", default="10s", show_default=True, help="When the client gives a request up.")
@click.option("--seed", default=0, show_default=True, help="Of arrivals and random requests.")
@click.option("--out", default=None, help="Folder for every sample, load.json and report.html.")
@as_json
@quiet
def command(
    url: str,
    rates: tuple[str, ...],
    seconds: str,
    warmup: str | None,
    arrivals: str,
    objective: str | None,
    model: str | None,
    version: str | None,
    source: str | None,
    batch: int,
    length: str,
    binary: bool,
    timeout: str,
    seed: int,
    out: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Load the server at URL on a schedule that does not wait for answers, and say what became of each request.

    URL is http://host:port of a server of the Open Inference Protocol v2, or any address that takes JSON by POST (then
    with --input). Exit code 1 when nothing was answered, 130 when interrupted; what was measured until then is shown.
    """
    from strop.api.load import load, to_json
    from strop.report.load import headline, tables_of
    from strop.report.text import render_tables

    hidden = quiet or as_json
    result = load(
        url, rates=rates, seconds=seconds, warmup=warmup, arrivals=arrivals,
        objective=objective, model=model, version=version, source=Path(source) if source else None, batch=batch,
        lengths=_lengths(length), binary=binary, timeout=timeout, seed=seed, out=out, watch=_watch(hidden),
    )  # fmt: skip
    if not hidden:
        click.echo("\r\x1b[K" * sys.stderr.isatty(), nl=False, err=True)
    if as_json:
        print_json(to_json(result))
    else:
        click.echo(render_tables(headline(result), tables_of(result), terminal_width()))
        if out:
            click.echo(f"Report: {Path(out) / 'report.html'}")
    if result.interrupted:
        return 130
    return 0 if any(run.summary.account["ok"] for run in result.runs) else 1


def _lengths(text: str) -> tuple[int, int]:
    from strop.errors import UsageError

    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise UsageError(f"--length is a size or a range of sizes, for instance 128 or 8-128; got {text!r}")
    return low, high


def _watch(hidden: bool) -> Watch:
    """Return what shows progress: one short line rewritten in place, because a drawn bar would hold the generator up."""

    def show(rate: float, elapsed: float, counts: Mapping[Outcome, int]) -> None:
        known = "".join(f" · {count} {outcome.word}" for outcome, count in sorted(counts.items()) if count > 0)
        sys.stderr.write(f"\r\x1b[K{rate:g}/s · {elapsed:.0f} s{known}")
        sys.stderr.flush()

    return (lambda rate, elapsed, counts: None) if hidden or not sys.stderr.isatty() else show
