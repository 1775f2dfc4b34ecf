"""Load a server and keep every sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from strop import __version__
from strop.errors import RunDirectoryError, UsageError
from strop.ledger.files import write_atomic, write_json
from strop.load.run import LoadPlan, LoadResult, Watch, run_load
from strop.report.load import render_load
from strop.units import parse_rate, parse_seconds


def load(
    url: str,
    *,
    rates: str | float | Iterable[str | float] = "100/s",
    seconds: str | float = 30.0,
    out: str | Path | None = None,
    watch: Watch = lambda rate, elapsed, counts: None,
    **settings: Any,
) -> LoadResult:
    """Send requests to a server on a schedule that does not wait for answers, and say what became of each.

    Args:
        url: ``http://host:port``, the model's own address below ``/v2/models/``, or any path that takes JSON by POST.
        rates: requests per second: ``"200/s"`` or a number, or several for a sweep.
        seconds: duration of each rate: ``"30s"`` or seconds.
        out: folder for samples, summary and page; ``None``: nothing is written.
        watch: told how it goes, about once a second; it must be quick.
        settings: other fields of :class:`strop.load.run.LoadPlan`; times may be text such as ``"50ms"``, ``None`` is left out.

    Raises:
        UsageError: an argument, the server, the model or the requests cannot be used.
        StropError: the server's answers do not follow the protocol.
        MissingExtraError: aiohttp is not installed.
    """
    given = [rates] if isinstance(rates, str | float | int) else list(rates)
    asked = tuple(parse_rate(rate) if isinstance(rate, str) else float(rate) for rate in given)
    if not asked or len(set(asked)) < len(asked):
        raise UsageError(f"rates must be given, each once; got {', '.join(map(str, given)) or 'none'}")
    given_settings = {name: value for name, value in settings.items() if value is not None}
    for name in {"warmup", "objective", "timeout"} & given_settings.keys():
        given_settings[name] = _seconds(given_settings[name])
    plan = LoadPlan(url=url, rates=asked, seconds=_seconds(seconds), **given_settings)
    folder = Path(out) if out is not None else None
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunDirectoryError(f"{folder} holds something already; name a new folder with --out.")
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    result = run_load(plan, watch)
    if folder is not None:
        write_load(result, folder, started)
    return result


def write_load(result: LoadResult, folder: Path, started: str) -> None:
    """Write ``load.json``, ``report.html``, and the samples of each rate as ``samples-RATE.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    for run in result.runs:
        run.samples.save(folder / f"samples-{run.summary.rate:g}.npz")
    write_json(folder / "load.json", {"started": started, **to_json(result)})
    write_atomic(folder / "report.html", render_load(result, started).encode())


def to_json(result: LoadResult) -> dict[str, Any]:
    """Return everything but the samples in a JSON-able form."""
    plan = dataclasses.asdict(result.plan)
    return {
        "strop": __version__,
        "plan": plan | {"source": str(result.plan.source) if result.plan.source else None},
        "target": result.target,
        "request_bytes": list(result.sizes),
        "interrupted": result.interrupted,
        "rates": [run.summary.to_json() for run in result.runs],
    }


def _seconds(value: str | float) -> float:
    return parse_seconds(value) if isinstance(value, str) else float(value)
