"""What was proven about a result: parts, quality, memory and cold start, from the ledger alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from strop.api.record import Record
from strop.ledger.judgement import read_comparisons
from strop.measure.confirm import from_round_values
from strop.measure.peaks import RUNS, process_peaks
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import QualityResult
from strop.measure.result import Comparison, Finding, Verdict
from strop.report.evidence import Ablation, Claim, ColdMark, ColdStart, Footprint, QualityCheck
from strop.search.claims import ONE_SHOT, WITHOUT

GUARD_WORDS = {"held": "held", "worse quality": "broken", "unproven quality": "unproven"}
MARKS = {
    "interpreter_up": "interpreter up",
    "imported": "strop imported",
    "loaded": "artefact open",
    "first_output": "first answer",
}


def ablation(record: Record, end: Mapping[str, Any]) -> tuple[Ablation, ...]:
    """What each kept instruction contributes: confirmed where time allowed, else from screening."""
    screened, bound = dict(end.get("ablation", [])), set(end.get("inseparable", ()))
    rows = []
    for name in end["kept"]:
        plain = name.partition(" ")[2]
        confirmed, row = _part(record, WITHOUT + plain), screened.get(plain)
        if confirmed is not None:
            rows.append(
                Ablation(
                    instruction=name,
                    contribution=confirmed.speedup,
                    verdict="kept",
                    reason=confirmed.verdict.value,
                    phase="confirm",
                )
            )
        elif row is not None and row["screen"]:
            interval = read_comparisons(row["screen"])["all"].speedup
            rows.append(Ablation(instruction=name, contribution=interval, verdict="kept"))
        elif len(end["kept"]) == 1:
            rows.append(Ablation(instruction=name, reason="it is the whole recipe: all that was gained"))
        else:
            reason = "the rest of the recipe cannot be without it" if plain in bound else "the budget did not allow it"
            rows.append(Ablation(instruction=name, reason=reason))
    return tuple(rows)


def one_shot(record: Record) -> tuple[Claim, ...]:
    """The result against the best single choice, if that was measured."""
    row = record.result(f"part/{ONE_SHOT}")
    if row is None or row["confirm"] is None:
        return ()
    judged = {point: _by_holm(record, ONE_SHOT, c) for point, c in read_comparisons(row["confirm"]).items()}
    return (Claim(comparisons=tuple(judged.values()), against=f"{ONE_SHOT} ({row['text']})"),)


def _part(record: Record, name: str) -> Comparison | None:
    row = record.result(f"part/{name}")
    if row is None or row["confirm"] is None:
        return None
    return _by_holm(record, name, read_comparisons(row["confirm"])["all"])


def _by_holm(record: Record, name: str, comparison: Comparison) -> Comparison:
    """Withdraw a "faster" that does not stand beside the other claims made with it."""
    adjusted = (record.result("parts") or {"adjusted": {}})["adjusted"].get(name, 1.0)
    if comparison.verdict is not Verdict.FASTER or adjusted <= comparison.alpha:
        return comparison
    note = Finding(
        code="holm",
        message=f"among {len(record.result('registered/parts')['rivals'])} claims made together this one has p = {adjusted:.3f}",
        advice="give a larger budget, or --resume if the run was cut",
    )
    return replace(comparison, verdict=Verdict.UNDECIDED, findings=(*comparison.findings, note))


def quality(record: Record) -> tuple[QualityCheck, ...]:
    """What the guard found on the confirming split."""
    about = record.result("workload")
    if record.claimed is None or about is None:
        return ()
    row = record.result(f"quality/{record.claimed}")
    if row is not None and "wrong" in row:
        return (QualityCheck(metric="answers", guard="broken", note=row["wrong"]),)
    if row is None:
        return (
            QualityCheck(metric="not judged", guard="not measured", note=f"speed only, no quality claim: {about['unjudged']}"),
        )
    judged = QualityResult.from_json(row["result"])
    return (
        QualityCheck(
            metric=judged.metric,
            guard=GUARD_WORDS[judged.guard.value],
            baseline=judged.baseline,
            result=judged.candidate,
            margin=judged.margin,
            difference=judged.difference,
            test=judged.test,
            examples=judged.n,
            clusters=judged.clusters,
            discordance=judged.discordance,
            needed=judged.needed_n,
            higher_is_better=judged.higher_is_better,
        ),
    )


def footprint(confirmed: Mapping[str, Any] | None, arm: str) -> Footprint:
    """Sizes of one arm; memory is the median over fresh processes."""
    if confirmed is None:
        return Footprint()
    peaks = [start[arm]["peak"] for start in confirmed["starts"]]
    return Footprint(
        process_peak=int(statistics.median(peaks)),
        tensor_peak=confirmed["tensors"].get(arm),
        disk=confirmed["disk"][arm],
        note=_memory(confirmed) if arm == "candidate" else "",
    )


def _memory(confirmed: Mapping[str, Any]) -> str:
    """Return what fresh processes prove about memory, in a sentence; empty where too few were seen."""
    if len(confirmed["starts"]) < RUNS:
        return ""
    ours, theirs = ([start[arm]["peak"] for start in confirmed["starts"]] for arm in ("baseline", "candidate"))
    verdict, ratio = process_peaks(ours, theirs)
    words = {Verdict.FASTER: "smaller", Verdict.SLOWER: "larger", Verdict.NO_GAIN: "no smaller", Verdict.UNDECIDED: "undecided"}
    return f"process peak: {words[verdict]}, {ratio.low:.2f} to {ratio.high:.2f} times in {RUNS} fresh processes of each"


def cold_start(confirmed: Mapping[str, Any] | None) -> ColdStart | None:
    """Each round started both arms afresh, one after the other, in an order drawn beforehand: the pairs of a cold start."""
    if confirmed is None:
        return None
    marks = tuple(
        ColdMark(name=words, baseline=_mark(confirmed, "baseline", mark), result=_mark(confirmed, "candidate", mark))
        for mark, words in MARKS.items()
    )
    before, after = (
        np.array([start[arm]["marks"]["first_output"] for start in confirmed["starts"]]) for arm in ("baseline", "candidate")
    )
    values = np.log(after / before)
    plan = ConfirmPlan.from_json(confirmed["confirm"]["plan"])
    plain = replace(plan, rounds=len(values), exact=False, least=0)
    speedup = from_round_values(values, np.zeros(len(values)), plain).speedup
    return ColdStart(marks=marks, starts=len(confirmed["starts"]), speedup=speedup)


def _mark(confirmed: Mapping[str, Any], arm: str, mark: str) -> float:
    return float(statistics.median(start[arm]["marks"][mark] for start in confirmed["starts"]))
