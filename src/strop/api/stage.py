"""The serving side of ``optimize``: put the run together, end it, and report it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop.api.assemble import assemble
from strop.api.ending import ending
from strop.api.record import Record
from strop.api.run import note_machine
from strop.catalogue import write_recipe
from strop.contract.recipe import Recipe
from strop.contract.workload import ServingWorkload
from strop.errors import UsageError
from strop.ledger.files import sha256, write_atomic
from strop.ledger.ledger import Ledger
from strop.measure.host import read_host
from strop.measure.result import Finding
from strop.observe import JsonlSink, Observer, tee
from strop.report.evidence import Command
from strop.report.model import RunReport
from strop.report.parts import Latency
from strop.search.budget import Budget
from strop.search.goodput import Found
from strop.search.request import Request
from strop.search.staging import Staging
from strop.search.stand import Stand
from strop.trial.serving import Served, ServingShop, read_traffic
from strop.units import show_per_second, show_seconds

SAME_ANSWERS = "both arms serve the same bundle; larger batches move its answers by rounding"


@contextlib.contextmanager
def open_staging(
    workload: ServingWorkload, request: Request, ledger: Ledger, observer: Observer, server: tuple[str, ...] = ()
) -> Iterator[Staging]:
    """Put the run of a serving workload together; its processes end with the context.

    Args:
        workload: what is served.
        request: what is asked.
        ledger: an open run.
        observer: told what happens, besides the run's own event file.
        server: the command line of another server that takes the options of ``strop serve``.

    Raises:
        ArtefactError: there is no such bundle.
        UsageError: arrivals, rate or inputs cannot be used, or the bundle was changed since the run began.
    """
    told = tee(JsonlSink(ledger.folder / "events.jsonl"), observer)
    traffic = read_traffic(workload, request.seed)
    manifest = sha256(Path(workload.bundle) / "manifest.json")
    if ledger.step("bundle", lambda: {"manifest": manifest})["manifest"] != manifest:
        raise UsageError(f"{workload.bundle} was changed since this run began; start a new run in another --out.")
    host = read_host()
    note_machine(ledger, host)
    logs = ledger.folder / "logs"
    logs.mkdir(exist_ok=True)
    shop = ServingShop(workload=workload, folder=logs, **({"server": server} if server else {}))
    with Stand(shop, traffic.windows, request.seed, logs, told) as stand:
        yield Staging(
            request=request,
            ledger=ledger,
            observer=told,
            bench=stand,
            stand=stand,
            host=host,
            budget=Budget(request.budget, lambda: ledger.elapsed),
            baseline=Served(Recipe()),
            workload=workload,
            traffic=traffic,
            shop=shop,
            logs=logs,
        )


def end_staging(staging: Staging, found: Found) -> dict[str, Any]:
    """Write the recipe that was kept, and return how the run ended."""
    kept = found.result
    if kept is not None:
        write_atomic(staging.ledger.folder / "recipe.yaml", write_recipe(kept).encode())
    short = "".join(f"{finding.message}; {finding.advice}." for finding in found.findings)
    reason = found.claim.problem if found.claim else short or "no way of batching was found to answer more requests in time"
    return {
        **ending(kept, reason, found.findings),
        "ablation": [],
        "untried": found.untried,
        "measuring": staging.bench.measuring,
        "load": {
            "rate": staging.traffic.windows.rate,
            "within": staging.workload.within,
            "told": staging.workload.told,
            "arrivals": Path(staging.workload.arrivals).name,
            "bundle": Path(staging.workload.bundle).name,
        },
    }


def assemble_staging(folder: Path, spent: float) -> RunReport:
    """Build the report of a serving run: the general one, in which calls are requests that were answered in time.

    Args:
        folder: the run directory.
        spent: seconds the run has taken.
    """
    report, record = assemble(folder, spent), Record.read(folder)
    end = record.result("end")
    load = end["load"] if end is not None else None
    return replace(
        report,
        subject=replace(report.subject, detail=_asked(load), max_drop=""),
        baseline=_in_time(report.baseline, load),
        result=_in_time(report.result, load),
        quality=tuple(replace(check, note=_accounts(record)) for check in report.quality),
        cost=None,
        pareto=None,
        cold_start=None,
        findings=(*report.findings, *_virtual(record)),
        commands=(*report.commands, *_next(folder, report, load)),
    )


def _asked(load: Mapping[str, Any] | None) -> str:
    if load is None:
        return ""
    return f"{show_per_second(load['rate'])}, {load['arrivals']}, to be answered within {show_seconds(load['within'])}"


def _in_time(rows: tuple[Latency, ...], load: Mapping[str, Any] | None) -> tuple[Latency, ...]:
    if load is None:
        return ()
    point = f"of requests answered within {show_seconds(load['within'])}"
    return tuple(replace(row, point=point, calls_per_second=None) for row in rows)


def _accounts(record: Record) -> str:
    """Say in a sentence what became of every request of the confirmation, as the generator counted and the servers confirmed."""
    confirmed = record.confirmed
    if confirmed is None or "accounts" not in confirmed:
        return ""
    told = []
    for arm, words in (("baseline", "a call per request"), ("candidate", "by the recipe")):
        seen = confirmed["accounts"][arm]
        ends = ", ".join(f"{seen[name]} {name}" for name in ("ok", "refused", "expired", "failed", "timeout") if seen.get(name))
        told.append(f"{words}: {seen['sent']} sent, {ends}; {seen['good']} of the {seen['counted']} counted in time")
    return f"{SAME_ANSWERS}. The generator's account, which the servers' own confirms: {'. '.join(told)}"


def _virtual(record: Record) -> tuple[Finding, ...]:
    shares = record.result("rehearsal")
    if shares is None:
        return ()
    low, high = min(shares["recipes"].values()), max(shares["recipes"].values())
    message = (
        f"in virtual time {100 * shares['off']:.0f} % are answered in time as it comes, "
        f"and {100 * low:.0f} to {100 * high:.0f} % by {len(shares['recipes'])} settings"
    )
    return (Finding(code="rehearsed", message=message, advice="a proposal of what to measure, and no result"),)


def _next(folder: Path, report: RunReport, load: Mapping[str, Any] | None) -> tuple[Command, ...]:
    """The command that serves by the recipe, where one was kept."""
    if not report.outcome.kept or load is None:
        return ()
    line = f"strop serve {load['bundle']} --recipe {folder.name}/recipe.yaml --objective {1000 * load['told']:g}ms"
    return (Command(line=line, what="serve by it"),)
