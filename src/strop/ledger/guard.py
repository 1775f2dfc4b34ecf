"""A judged quality comparison as the ledger keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strop.errors import LedgerError
from strop.ledger.files import read_json
from strop.ledger.ledger import Ledger
from strop.measure.bootstrap import PairedMetric, judge_corpus
from strop.measure.quality import judge_scores


def record_scores(
    ledger: Ledger,
    name: str,
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    sources: Sequence[str] | None,
    **settings: Any,
) -> dict[str, Any]:
    """Write both arms' per-example scores, judge them, and return the JSON-able judgement for a step.

    Args:
        ledger: an open run.
        name: of the file with the scores.
        baseline: scores of the original.
        candidate: scores of the candidate on the same examples.
        sources: the source of each example, or ``None``.
        settings: metric, margin, higher_is_better, alpha and what else is asked of :func:`strop.measure.quality.judge_scores`.
    """
    judge_scores(np.asarray(baseline), np.asarray(candidate), clusters=sources, **settings)  # what cannot be judged is not kept
    columns: dict[str, Any] = {"baseline": list(baseline), "candidate": list(candidate), "sources": sources}
    record = {"kind": "quality", "how": "scores", "settings": settings, "samples": ledger.write_scores(name, columns)}
    return {**record, "result": rejudge_quality(ledger.folder, record)}


def record_corpus(
    ledger: Ledger, name: str, values: PairedMetric, n: int, *, sources: Sequence[str] | None, **settings: Any
) -> dict[str, Any]:
    """Judge a whole-set metric by bootstrap, keep every value it gave, and return the JSON-able judgement for a step.

    The values are recorded in the order in which the bootstrap asked for them, so that the verdict can be recomputed
    without the model's answers.

    Args:
        ledger: an open run.
        name: of the file with the values.
        values: the metric of both arms on the examples with given indices.
        n: examples.
        sources: the source of each example, or ``None``.
        settings: metric (its name), margin, higher_is_better, alpha, resamples and seed of
            :func:`strop.measure.bootstrap.judge_corpus`.
    """
    asked: list[tuple[float, float] | None] = []  # nothing where the metric is undefined, for which JSON has no number

    def remember(chosen: Any) -> tuple[float, float]:
        baseline, candidate = map(float, values(chosen))
        asked.append((baseline, candidate) if math.isfinite(baseline) and math.isfinite(candidate) else None)
        return baseline, candidate

    judge_corpus(remember, n, clusters=sources, **settings)
    columns: dict[str, Any] = {"values": asked, "n": n, "sources": sources}
    record = {"kind": "quality", "how": "corpus", "settings": settings, "samples": ledger.write_scores(name, columns)}
    return {**record, "result": rejudge_quality(ledger.folder, record)}


def rejudge_quality(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the recorded scores again, from the file alone.

    Raises:
        LedgerError: the file is damaged, or holds fewer values than the verdict needs.
        MeasureError: what it holds cannot be judged.
    """
    columns, settings = read_json(folder / record["samples"]["file"]), record["settings"]
    if record["how"] == "scores":
        left, right = (np.asarray(columns[arm], dtype=np.float64) for arm in ("baseline", "candidate"))
        return judge_scores(left, right, clusters=columns["sources"], **settings).to_json()
    rest = iter(columns["values"])

    def recorded(chosen: Any) -> tuple[float, float]:
        try:
            value = next(rest)
        except StopIteration:
            raise LedgerError(f"{record['samples']['file']} holds fewer values than the verdict needs.") from None
        return (value[0], value[1]) if value is not None else (math.nan, math.nan)

    return judge_corpus(recorded, columns["n"], clusters=columns["sources"], **settings).to_json()
