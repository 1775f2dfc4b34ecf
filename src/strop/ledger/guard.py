"""A judged quality comparison as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strop.ledger.files import read_json
from strop.ledger.ledger import Ledger
from strop.measure.quality import QualityResult, judge_scores


def record_scores(
    ledger: Ledger,
    name: str,
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    sources: Sequence[str] | None,
    metric: str,
    margin: float,
    higher_is_better: bool,
    alpha: float,
) -> dict[str, Any]:
    """Write both arms' per-example scores, judge them, and return the JSON-able judgement for a step."""
    columns: dict[str, Sequence[Any]] = {"baseline": list(baseline), "candidate": list(candidate)}
    if sources is not None:
        columns["sources"] = list(sources)
    settings = {"metric": metric, "margin": margin, "higher_is_better": higher_is_better, "alpha": alpha}
    samples = ledger.write_scores(name, columns)
    record = {"kind": "quality", "settings": settings, "samples": samples}
    return {**record, "result": rejudge_quality(ledger.folder, record)}


def rejudge_quality(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the recorded scores again, from the file alone."""
    columns = read_json(folder / record["samples"]["file"])
    result: QualityResult = judge_scores(
        np.asarray(columns["baseline"], dtype=np.float64),
        np.asarray(columns["candidate"], dtype=np.float64),
        clusters=columns.get("sources"),
        **record["settings"],
    )
    return dict(result.to_json())
