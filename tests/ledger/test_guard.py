"""Recorded quality: the verdict follows from the file alone, and damage to the file is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strop.errors import LedgerError, MeasureError
from strop.ledger.files import read_json, sha256, write_json
from strop.ledger.guard import record_corpus, record_scores, rejudge_quality
from strop.ledger.ledger import Ledger
from strop.ledger.verify import verify_ledger
from strop.measure.quality import Guard, QualityResult, judge_scores

SETTINGS: dict[str, Any] = {"metric": "accuracy größe", "margin": 0.02, "alpha": 0.05, "higher_is_better": True}
RIGHT, SLIP = [1.0] * 280 + [0.0] * 20, [1.0] * 279 + [0.0] * 21
F1 = {**SETTINGS, "metric": "F1", "margin": 0.2, "resamples": 200, "seed": 3}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ein lauf", {}) as made:
        yield made


def f1(truth: Any, ours: Any, theirs: Any) -> Any:
    """Return a whole-set metric of two arms, on the examples asked for."""

    def metric(chosen: Any) -> tuple[float, float]:
        def one(got: Any) -> float:
            hits = float((got[chosen] * truth[chosen]).sum())
            return 2 * hits / max(float(got[chosen].sum() + truth[chosen].sum()), 1.0)

        return one(ours), one(theirs)

    return metric


def corpus(ledger: Ledger, theirs_wrong: int = 1, sources: Any = None) -> dict[str, Any]:
    truth = np.arange(60) % 2.0
    theirs = truth.copy()
    theirs[:theirs_wrong] = 1 - theirs[:theirs_wrong]
    return record_corpus(ledger, "f1", f1(truth, truth, theirs), 60, sources=sources, **F1)


def test_scores_are_judged_as_they_would_be_without_a_ledger(ledger: Ledger) -> None:
    record = record_scores(ledger, "guard", RIGHT, SLIP, sources=None, **SETTINGS)
    direct = judge_scores(np.array(RIGHT), np.array(SLIP), **SETTINGS)
    assert QualityResult.from_json(record["result"]) == direct
    assert direct.guard is Guard.HELD


def test_a_record_survives_json_and_is_judged_the_same_from_the_file(ledger: Ledger) -> None:
    sources = [f"bild {n // 3}" for n in range(300)]
    records = [
        record_scores(ledger, "plain", RIGHT, SLIP, sources=None, **SETTINGS),
        record_scores(ledger, "related", RIGHT, SLIP, sources=sources, **SETTINGS),
        record_scores(
            ledger, "numbers", [0.1 * n for n in range(40)], [0.1 * n + 1e-3 for n in range(40)], sources=None, **SETTINGS
        ),
        corpus(ledger),
    ]
    for record in json.loads(json.dumps(records)):
        again = json.loads(json.dumps(rejudge_quality(ledger.folder, record)))
        assert again == record["result"]
        assert sha256(ledger.folder / record["samples"]["file"]) == record["samples"]["sha256"]


def test_related_examples_are_judged_by_their_sources(ledger: Ledger) -> None:
    alone = record_scores(ledger, "alone", RIGHT, SLIP, sources=None, **SETTINGS)["result"]
    related = record_scores(ledger, "related", RIGHT, SLIP, sources=[str(n // 30) for n in range(300)], **SETTINGS)["result"]
    assert (alone["clusters"], related["clusters"]) == (300, 10)


def test_arrays_are_taken_as_well_as_lists(ledger: Ledger) -> None:
    listed = record_scores(ledger, "a", RIGHT, SLIP, sources=None, **SETTINGS)
    arrays = record_scores(ledger, "b", np.array(RIGHT), np.array(SLIP), sources=None, **SETTINGS)  # type: ignore[arg-type]
    assert listed["result"] == arrays["result"]
    assert listed["samples"]["sha256"] == arrays["samples"]["sha256"]


def test_a_worse_candidate_is_said_to_be_worse(ledger: Ledger) -> None:
    record = record_scores(ledger, "bad", RIGHT, [0.0] * 60 + RIGHT[60:], sources=None, **SETTINGS)
    assert record["result"]["guard"] == Guard.BROKEN.value
    assert corpus(ledger, theirs_wrong=40)["result"]["guard"] == Guard.BROKEN.value


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_a_failed_measurement_and_leave_no_file(bad: float, ledger: Ledger) -> None:
    with pytest.raises(MeasureError, match="1 of 300 candidate scores are not finite numbers"):
        record_scores(ledger, "guard", RIGHT, [bad, *SLIP[1:]], sources=None, **SETTINGS)
    assert not (ledger.folder / "scores").exists()


def test_scores_that_cannot_be_paired_leave_no_file(ledger: Ledger) -> None:
    with pytest.raises(MeasureError, match="300 baseline and 299 candidate scores cannot be paired"):
        record_scores(ledger, "guard", RIGHT, SLIP[1:], sources=None, **SETTINGS)
    assert not (ledger.folder / "scores").exists()


def test_every_value_of_a_whole_set_metric_is_kept(ledger: Ledger) -> None:
    record = corpus(ledger, sources=[str(n // 2) for n in range(60)])
    columns = read_json(ledger.folder / record["samples"]["file"])
    assert columns["n"] == 60 and len(columns["sources"]) == 60
    assert len(columns["values"]) == 1 + 200 + 30, "the whole set, each resample, and each source left out"


def test_a_metric_that_gives_small_floats_is_kept_too(ledger: Ledger) -> None:
    def metric(chosen: Any) -> tuple[Any, Any]:
        return np.float32(chosen.mean()), np.float32(chosen.mean())

    record = record_corpus(ledger, "f32", metric, 60, sources=None, **F1)
    assert rejudge_quality(ledger.folder, json.loads(json.dumps(record))) == record["result"]


def test_values_that_ran_out_are_said(ledger: Ledger) -> None:
    record = corpus(ledger)
    path = ledger.folder / record["samples"]["file"]
    columns = read_json(path)
    write_json(path, {**columns, "values": columns["values"][:-5]})
    with pytest.raises(LedgerError, match=r"f1\.json holds fewer values than the verdict needs"):
        rejudge_quality(ledger.folder, record)


def shorten(columns: dict[str, Any]) -> dict[str, Any]:
    return {**columns, "values": columns["values"][:3]}


def unequal(columns: dict[str, Any]) -> dict[str, Any]:
    return {**columns, "candidate": columns["candidate"][1:]}


def emptied(columns: dict[str, Any]) -> dict[str, Any]:
    return {**columns, "baseline": [], "candidate": []}


@pytest.mark.parametrize(("how", "change"), [("corpus", shorten), ("scores", unequal), ("scores", emptied)])
def test_verifying_a_damaged_record_names_the_file_and_does_not_stop(how: str, change: Any, ledger: Ledger) -> None:
    made = corpus(ledger) if how == "corpus" else record_scores(ledger, "guard", RIGHT, SLIP, sources=None, **SETTINGS)
    good = record_scores(ledger, "good", RIGHT, SLIP, sources=None, **SETTINGS)
    ledger.step("quality", lambda: [made, good])
    path = ledger.folder / made["samples"]["file"]
    write_json(path, change(read_json(path)))
    found = {check.file for check in verify_ledger(ledger.folder) if check.problem and check.file != "digests.json"}
    assert found == {made["samples"]["file"]}
