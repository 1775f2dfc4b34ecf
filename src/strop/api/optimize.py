"""The main job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from strop import __version__
from strop.api.assemble import assemble
from strop.api.bundles import save_bundle
from strop.api.ending import ending, nothing_kept
from strop.api.result import Result
from strop.api.run import open_ledger, open_session, refer
from strop.api.stage import SAME_ANSWERS, assemble_staging, end_staging, open_staging
from strop.api.tune import assemble_tuning, end_tuning, open_tuning
from strop.api.warm import record_latency
from strop.bundle.manifest import Origin
from strop.catalogue import get, write_recipe
from strop.contract.card import Aim
from strop.contract.draft import Facts
from strop.contract.instruction import Entry, Instruction, identity
from strop.contract.quality import MaxDrop, Quality, unjudged
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.contract.workload import InferenceWorkload, ServingWorkload, TrainingWorkload, Workload
from strop.errors import UsageError, did_you_mean
from strop.ledger.files import seal, write_atomic, write_json
from strop.ledger.ledger import Ledger
from strop.measure.host import read_host
from strop.observe import Event, Level, Observer, silent
from strop.pipeline import legal
from strop.report.html import render_html
from strop.report.model import RunReport
from strop.search.goodput import improve
from strop.search.optimize import Search, search
from strop.search.placebo import PLACEBO_KEPT
from strop.search.proposals import groups, removals, variants
from strop.search.request import Request
from strop.search.session import Session
from strop.search.tune import tune
from strop.trial.materials import check_there
from strop.trial.reference import Reference
from strop.units import Seconds, parse_seconds

AIMS = {
    InferenceWorkload: (Aim.LATENCY, Aim.THROUGHPUT),
    TrainingWorkload: (Aim.THROUGHPUT,),
    ServingWorkload: (Aim.GOODPUT,),
}
"""Kind of workload → what can be asked of it."""

REPORTS = {InferenceWorkload: assemble, TrainingWorkload: assemble_tuning, ServingWorkload: assemble_staging}
"""Kind of workload → what makes the report of its run."""

FINISHED = {TrainingWorkload: "trains", ServingWorkload: "serves"}
"""Kinds of workloads whose runs end in a recipe and no bundle → how their plans say so."""


def optimize(
    workload: str | Path | Workload,
    *,
    aim: str = "latency",
    max_drop: str | MaxDrop = "1%",
    budget: str | float = "10m",
    out: str | Path | None = None,
    seed: int = 0,
    only: str | int | Iterable[int | str] = (),
    exact: bool = False,
    strict: bool = False,
    resume: bool = False,
    observer: Observer = silent,
    **options: str,
) -> Result:
    """Find what makes a model, its training or its service faster on this machine without losing quality, and prove it.

    Of a training workload the settings of the training are tried: the result is a recipe for :func:`strop.train`. Of a serving
    workload it is a recipe for ``strop serve``.

    Args:
        workload: a workload file (``path.py`` or ``path.py:function``), ``hf:FOLDER-OR-ID``, or a live
            :class:`strop.InferenceWorkload`, :class:`strop.TrainingWorkload` or :class:`strop.ServingWorkload`.
        aim: ``"latency"`` (time of a call), ``"throughput"`` (time for many calls; of a training: samples per second), or
            ``"goodput"`` (of a service: requests answered within the objective).
        max_drop: quality that may be lost: ``"1%"`` of the original's value, ``"1pt"`` (0.01) or a plain number.
        budget: time for everything: ``"4m"``, ``"90s"`` or seconds.
        out: the run directory; default ``runs/<name>``.
        seed: of coins, inputs and preparations.
        only: numbers or names of the instructions to try, in one text separated by commas; default: all that apply.
        exact: confirm by an exact sign-flip test, which assumes no distribution; not for trainings, whose few rounds cannot
            reach the wanted level by it.
        strict: family-wise error probability 1 % instead of 5 %.
        resume: go on with the run in ``out``.
        observer: told what happens.
        options: for ``hf:`` workloads: ``task``, ``data``, ``text`` and ``label``.

    Returns:
        The result; ``result.exit_code`` is 0 when something was kept, 3 when nothing paid, 130 when interrupted.

    Raises:
        UsageError: an argument, the workload or the run directory cannot be used.
        StropError: the original model could not be measured.
    """
    request = Request(
        aim=_aim(aim),
        max_drop=MaxDrop.parse(max_drop) if isinstance(max_drop, str) else max_drop,
        budget=_budget(budget),
        seed=seed,
        alpha=0.01 if strict else 0.05,
        exact=exact,
        only=_numbers(only),
    )
    with refer(workload, **options) as reference:
        begun = time.monotonic()
        loaded = workload if isinstance(workload, Workload) else reference.load_any()
        _check_asked(loaded, request)
        folder = Path(out) if out is not None else Path("runs") / _name(workload)
        kind = type(loaded)
        plan = {**_plan(workload, reference, request, resume, folder), **{w: k is kind for k, w in FINISHED.items()}}
        with open_ledger(folder, plan, resume=resume) as ledger:
            if ledger.done("end"):  # resumed though there is nothing left to do but perhaps the report
                _refuse_change(ledger, reference)
            else:
                ledger.count(time.monotonic() - begun)
                _run(reference, loaded, request, ledger, observer)
            return _close(ledger, observer, REPORTS[kind])


def _run(reference: Reference, loaded: Workload, request: Request, ledger: Ledger, observer: Observer) -> None:
    """Search; whatever ends the search early is on record before it leaves."""
    observer(Event("run.started", f"budget {request.budget:.0f} s", data={"budget": request.budget, "elapsed": ledger.elapsed}))
    try:
        if isinstance(loaded, TrainingWorkload):
            with open_tuning(reference, loaded, request, ledger, observer) as tuning:
                _note_workload(ledger, reference, loaded.metric)
                tuned = tune(tuning)
                ledger.step("end", lambda: end_tuning(tuning, tuned))
            return
        if isinstance(loaded, ServingWorkload):
            with open_staging(loaded, request, ledger, observer) as staging:
                _note_workload(ledger, reference, unjudged(SAME_ANSWERS))
                found_ways = improve(staging)
                ledger.step("end", lambda: end_staging(staging, found_ways))
            return
        with open_session(reference, request, ledger, observer, loaded=loaded) as session:
            _note_workload(ledger, reference, loaded.quality)
            found = search(session)
            ledger.step("end", lambda: _end(session, found, reference))
    except KeyboardInterrupt:
        observer(Event("run.interrupted", "interrupted; what was measured is on disk, --resume goes on", Level.WARNING))


def _check_asked(loaded: Workload, request: Request) -> None:
    """Refuse what cannot be asked of this kind of workload, before any work.

    Raises:
        UsageError: the aim, the way of confirming, or a device that is not there.
    """
    if isinstance(loaded, InferenceWorkload):
        check_there(loaded)
    kind = type(loaded).__name__
    allowed = [str(aim) for aim in AIMS[type(loaded)]]
    if str(request.aim) not in allowed:
        raise UsageError(f"aim {str(request.aim)!r} cannot be asked of a strop.{kind}; ask for {' or '.join(allowed)}: --aim …")
    if request.exact and type(loaded) in FINISHED:
        raise UsageError("--exact needs more rounds than are measured of a training or a service; leave it out.")
    if request.only and not groups(variants(Facts(), read_host(), loaded.traits, request.only), loaded.traits, {}):
        why = [_why_not(get(number), loaded) for number in request.only]
        raise UsageError(f"nothing could be tried of this workload with these instructions only: {'; '.join(why)}.")


def _budget(budget: str | float) -> Seconds:
    seconds = parse_seconds(budget) if isinstance(budget, str) else float(budget)
    if not 0 < seconds < math.inf:
        raise UsageError(f"a budget must be a positive number of seconds, or a text such as '4m'; got {budget!r}.")
    return seconds


def _numbers(only: str | int | Iterable[int | str]) -> tuple[int, ...]:
    """Read which instructions are to be tried.

    Raises:
        UsageError: the text names none, or one that is not built.
    """
    if isinstance(only, int):
        only = (only,)
    if isinstance(only, str):
        parts = [part.strip() for part in only.split(",")]
        only = [part for part in parts if part]
        if not only:
            raise UsageError("no instruction to try is named; give numbers or names separated by commas, or leave --only out.")
    return tuple(identity(get(key))[0] for key in only)


def _why_not(entry: type[Entry], loaded: Workload) -> str:
    number, name = identity(entry)
    if not issubclass(entry, Instruction):
        return f"{number:02d} {name} changes no model"
    return legal(Recipe([entry()]), loaded.traits) or f"{number:02d} {name} does not apply"


def _note_workload(ledger: Ledger, reference: Reference, quality: Quality) -> None:
    """Write down what is measured, and refuse to go on with something else."""

    def about() -> dict[str, Any]:
        return {"digest": reference.digest(), "unjudged": quality.unjudged, "original": Recipe().key}

    ledger.step("workload", about)
    _refuse_change(ledger, reference)


def _refuse_change(ledger: Ledger, reference: Reference) -> None:
    noted = ledger.step("workload", dict)
    if reference.replayable and noted["digest"] != reference.digest():
        raise UsageError(f"{reference.value} was changed since this run began; start a new run in another --out.")


def _end(session: Session, found: Search, reference: Reference) -> dict[str, Any]:
    """Write bundle and recipe, and return how the run ended."""
    last = found.confirmations[-1][1] if found.confirmations else None
    short = [f"{f.message}; {f.advice}" for f in found.findings if f.code in ("budget-too-small", PLACEBO_KEPT)]
    reason = last.problem if last is not None else "".join(short) or nothing_kept(found.standing.trials)
    kept = found.result
    if kept is not None and last is not None:
        place = session.ledger.folder / "bundle"
        manifest = save_bundle(
            place,
            kept,
            session.materials.signature,
            origin=Origin(
                workload=session.workload.name,
                reference=reference.text,
                options=reference.options,
                how=f"strop optimize --aim {session.request.aim}",
            ),
            device=session.workload.device,
            quality=last.quality.to_json() if last.quality else {},
            latency={point: {"speedup": c.speedup.estimate, "low": c.speedup.low} for point, c in last.comparisons.items()},
        )
        if (left := session.budget.left) > 0:
            record_latency(place, left, session.observer)
        write_atomic(session.ledger.folder / "recipe.yaml", write_recipe(kept.recipe).encode())
        session.tell("bundle.written", f"bundle of {len(manifest.files)} files", level=Level.DETAIL)
    return {
        **ending(kept.recipe if kept else None, reason, found.findings),
        "ablation": [[name, trial.row] for name, trial in found.ablation],
        "inseparable": _inseparable(kept.recipe, session.workload.traits) if kept else [],
        "untried": found.standing.untried,
        "measuring": session.bench.measuring,
    }


def _inseparable(recipe: Recipe, start: frozenset[Trait]) -> list[str]:
    """Return the instructions without which the rest of a recipe cannot be."""
    removable = {instruction.name for instruction, _ in removals(recipe, start)}
    return [instruction.name for instruction in recipe if instruction.name not in removable]


def _close(ledger: Ledger, observer: Observer, report_of: Callable[[Path, float], RunReport]) -> Result:
    report = report_of(ledger.folder, ledger.elapsed)
    write_json(ledger.folder / "report.json", report.to_json())
    write_atomic(ledger.folder / "report.html", render_html(report).encode())
    if ledger.done("end"):
        seal(ledger.folder)
    result = Result(ledger.folder, report)
    observer(Event("run.finished", report.outcome.reason, Level.RESULT, {"exit_code": result.exit_code}))
    return result


def _plan(workload: Any, reference: Reference, request: Request, resume: bool, folder: Path) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "command": "optimize",
        "version": __version__,
        "name": _name(workload),
        "reference": reference.to_json() if reference.replayable else None,
        "request": request.to_json(),
    }
    if not resume or not (folder / "plan.json").exists():
        plan["started"] = datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds")
    return plan


def _name(workload: Any) -> str:
    if isinstance(workload, Workload):
        return workload.name or "live"
    text = str(workload).removeprefix("hf:").partition(".py:")[0].removesuffix(".py").rstrip("/")
    path = Path(text)
    return path.parent.name if path.name == "workload" and path.parent.name else path.name


def _aim(text: str) -> Aim:
    names = list(dict.fromkeys(str(aim) for aims in AIMS.values() for aim in aims))
    if text not in names:
        raise UsageError(f"aim {text!r} cannot be asked for.{did_you_mean(text, names)}")
    return Aim(text)
