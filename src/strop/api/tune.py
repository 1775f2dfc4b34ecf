"""The training side of ``optimize``: put the run together, end it, and report it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop.api.assemble import assemble
from strop.api.ending import ending
from strop.api.numbers import latencies
from strop.api.record import Record
from strop.api.run import note_machine
from strop.api.target_time import time_to_target
from strop.catalogue import write_recipe
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.ledger.files import write_atomic
from strop.ledger.ledger import Ledger
from strop.measure.host import read_host
from strop.measure.result import Interval
from strop.measure.timing import WarmRule
from strop.observe import JsonlSink, Observer, tee
from strop.report.evidence import Command
from strop.report.model import RunReport
from strop.report.parts import Latency
from strop.search.bench import Bench
from strop.search.budget import Budget
from strop.search.request import Request
from strop.search.tune import Tuned
from strop.search.tuning import Tuning
from strop.trial.reference import Reference
from strop.trial.steps import POINT, STEPS
from strop.trial.training import Planned, TrainingShop, training_draft

WARMING = WarmRule(min_calls=1, min_seconds=0.5, window=3, max_seconds=1.5)
"""Loading has taken a sweep, which is several steps, and profiling takes another: what is slow only once is past by then. Where
a sweep takes seconds, a single one more is enough; a window of three at each start would be time for a whole trial."""

SEEDS_NOTE = "every example is a whole training, each seed from the same start in both arms"


@contextlib.contextmanager
def open_tuning(
    reference: Reference, workload: TrainingWorkload, request: Request, ledger: Ledger, observer: Observer
) -> Iterator[Tuning]:
    """Put the run of a training workload together; its processes end with the context.

    Raises:
        WorkloadError: the workload does not hold together.
    """
    told = tee(JsonlSink(ledger.folder / "events.jsonl"), observer)
    facts = training_draft(workload, request.seed).facts
    host = read_host(accelerators=True)
    note_machine(ledger, host)
    shop, logs = TrainingShop(reference=reference, host=host, seed=request.seed), ledger.folder / "logs"
    logs.mkdir(exist_ok=True)
    with Bench(shop, (POINT,), request.seed, logs, told, WARMING) as bench:
        yield Tuning(
            request=request,
            ledger=ledger,
            observer=told,
            bench=bench,
            host=host,
            budget=Budget(request.budget, lambda: ledger.elapsed),
            baseline=Planned(Recipe()),
            workload=workload,
            facts=facts,
            shop=shop,
            logs=logs,
        )


def end_tuning(tuning: Tuning, found: Tuned) -> dict[str, Any]:
    """Write the recipe that was kept, and return how the run ended."""
    kept = found.result
    if kept is not None:
        write_atomic(tuning.ledger.folder / "recipe.yaml", write_recipe(kept).encode())
    short = [f"{f.message}; {f.advice}." for f in found.findings]
    reason = found.claims[-1].problem if found.claims else "".join(short) or "no recipe was found to train faster"
    return {
        **ending(kept, reason, found.findings),
        "ablation": [[name, row] for name, row in found.contributions],
        "untried": found.standing.untried,
        "measuring": tuning.bench.measuring,
    }


def assemble_tuning(folder: Path, spent: float) -> RunReport:
    """Build the report of a training run: the general one, in whose place of calls stand optimizer steps.

    Args:
        folder: the run directory.
        spent: seconds the run has taken.
    """
    report, record = assemble(folder, spent), Record.read(folder)
    size = record.result("size")
    before, after = latencies(record, record.confirmed)
    return replace(
        report,
        baseline=_steps(before, size),
        result=_steps(after, size) if report.outcome.kept else (),
        quality=tuple(replace(check, note=check.note or SEEDS_NOTE) for check in report.quality),
        time_to_target=time_to_target(record),
        cold_start=None,
        cost=None,
        pareto=None,
        commands=(*report.commands, *_next(folder, report)),
    )


def _steps(rows: tuple[Latency, ...], size: dict[str, Any] | None) -> tuple[Latency, ...]:
    """Turn sweeps into single steps."""
    if size is None:
        return ()
    point = f"an optimizer step of {size['samples']:g} samples, mean of a sweep through the epoch"
    return tuple(Latency(point=point, p50=_part(row.p50)) for row in rows)


def _part(sweep: Interval) -> Interval:
    low, middle, high = (value / STEPS for value in (sweep.low, sweep.estimate, sweep.high))
    return replace(sweep, low=low, estimate=middle, high=high)


def _next(folder: Path, report: RunReport) -> tuple[Command, ...]:
    """The command that trains by the recipe, where one was kept."""
    if not report.outcome.kept or report.subject.reference is None:
        return ()
    line = f"strop train {Path(report.subject.reference).name} --recipe {folder.name}/recipe.yaml"
    return (Command(line=line, what="train by it, once and for real"),)
