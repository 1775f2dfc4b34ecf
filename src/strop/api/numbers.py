"""Numbers of the report that are computed from raw samples: latencies, the Pareto plane, places under the roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strop.contract.recipe import Recipe
from strop.ledger.judgement import read_comparisons
from strop.ledger.ledger import read_pairs
from strop.measure.latency import call_seconds, median_latency
from strop.measure.quality import QualityResult
from strop.measure.result import Pair
from strop.measure.tail import tail_bound
from strop.report.parts import Latency, Pareto, ParetoPoint, RooflinePoint, Tail

if TYPE_CHECKING:
    from strop.api.record import Record


def latencies(record: Record, confirmed: Mapping[str, Any] | None) -> tuple[tuple[Latency, ...], tuple[Latency, ...]]:
    """Return the latency of original and result per operating point.

    From the confirming pairs, or, for the original alone, from the A/A calibration when nothing was confirmed.
    """
    if confirmed is not None:
        pairs, points = read_pairs(record.folder / confirmed["confirm"]["samples"]["file"]), confirmed["confirm"]["points"]
        return _arm(pairs, "baseline", points), _arm(pairs, "candidate", points)
    placebo = record.result("placebo")
    if placebo is None:
        return (), ()
    judgement = placebo["judgement"]
    return _arm(read_pairs(record.folder / judgement["samples"]["file"]), "baseline", judgement["points"]), ()


def pareto(
    record: Record, trials: Sequence[Mapping[str, Any]], baseline: Sequence[Latency], confirmed: Mapping[str, Any] | None
) -> Pareto | None:
    """Place every trial that was timed against the original, and has a quality, in the latency–quality plane."""
    judged = [row for row in trials if row["screen"] and row["quality"] and row["against"] == Recipe().key]
    if not baseline or not judged:
        return None
    point, before = baseline[0].point, baseline[0].p50.estimate
    first = QualityResult.from_json(judged[0]["quality"]["result"])
    places = [ParetoPoint(label="original", latency=before, quality=first.baseline, phase="screen")]
    for row in judged:
        speedup = read_comparisons(row["screen"])[point].speedup.estimate
        value = QualityResult.from_json(row["quality"]["result"]).candidate
        places.append(
            ParetoPoint(label=row["text"], latency=before / speedup, quality=value, phase="screen", status=row["status"])
        )
    held = record.result(f"quality/{record.claimed}")
    if confirmed is not None and held is not None and "result" in held:
        speedup = read_comparisons(confirmed["confirm"])[point].speedup.estimate
        final = QualityResult.from_json(held["result"]).candidate
        kept = (record.result("end") or {"result": None})["result"] is not None
        label, status = ("result", "kept") if kept else ("claimed, and refuted", "refuted")
        places.append(ParetoPoint(label=label, latency=before / speedup, quality=final, phase="confirm", status=status))
    limit = first.baseline - first.margin if first.higher_is_better else first.baseline + first.margin
    return Pareto(point=point, metric=first.metric, points=tuple(places), limit=limit, higher_is_better=first.higher_is_better)


def roofline(record: Record, confirmed: Mapping[str, Any] | None) -> tuple[RooflinePoint, ...]:
    """Return the places of the original, and of the result as the same work done in less time."""
    places = []
    speedups = read_comparisons(confirmed["confirm"]) if confirmed is not None else {}
    for row in (record.result("diagnosis") or {"points": []})["points"]:
        if not row["intensity"] or not row["achieved"]:
            continue
        places.append(RooflinePoint(label=f"original, {row['point']}", intensity=row["intensity"], achieved=row["achieved"]))
        if row["point"] in speedups:
            achieved = row["achieved"] * speedups[row["point"]].speedup.estimate
            places.append(
                RooflinePoint(label=f"result, {row['point']}", intensity=row["intensity"], achieved=achieved, result=True)
            )
    return tuple(places)


def _arm(pairs: Sequence[Pair], arm: str, points: Sequence[str]) -> tuple[Latency, ...]:
    rows = []
    for point in points:
        counted = [p for p in pairs if p.voided is None] or pairs
        numbers = dict.fromkeys(pair.round for pair in counted)
        rounds = [call_seconds([pair for pair in counted if pair.round == number], arm, point) for number in numbers]
        calls = [seconds for blocks in rounds for block in blocks for seconds in block]
        if not calls:  # a server that answered nothing in time
            continue
        rows.append(
            Latency(
                point=point,
                p50=median_latency(rounds),
                p90=_tail(calls, 0.90),
                p99=_tail(calls, 0.99),
                calls_per_second=len(calls) / sum(calls),
            )
        )
    return tuple(rows)


def _tail(calls: Sequence[float], percentile: float) -> Tail:
    found = tail_bound(calls, percentile)
    ordered = sorted(calls)
    return Tail(estimate=ordered[min(len(ordered) - 1, int(percentile * len(ordered)))], bound=found.bound, calls=len(calls))
