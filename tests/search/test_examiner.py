"""When answers count as plainly wrong, before anything is timed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop.contract.examples import write_examples
from strop.contract.quality import MaxDrop, Quality, corpus_metric, per_example
from strop.contract.workload import Split
from strop.errors import WorkloadError
from strop.ledger.files import read_json
from strop.ledger.guard import rejudge_quality
from strop.ledger.ledger import Ledger
from strop.measure.quality import Guard
from strop.search.examiner import LEAST_PATIENCE, Examiner, compare_answers

ORIGINAL = [{"logits": np.array([[3.0, -3.0]])}, {"logits": np.array([[0.01, -0.01]])}, {"logits": np.array([[-2.0, 2.0]])}]


def changed(number: int, value: object) -> list[object]:
    return [{"logits": value} if i == number else answer for i, answer in enumerate(ORIGINAL)]


def test_an_undecided_example_may_depart_from_itself() -> None:
    """Its logits are near zero, so a small shift is many times its own size; over all answers it is nothing."""
    assert compare_answers(ORIGINAL, changed(1, np.array([[-0.05, 0.05]])), 0.02) is None


def test_other_answers_are_wrong() -> None:
    assert "output 0 is 1.2 away" in str(compare_answers(ORIGINAL, changed(0, np.array([[-1.5, 1.5]])), 0.9))
    assert compare_answers(ORIGINAL, ORIGINAL, 0.0) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[np.nan, 1.0]]), "on evaluation input 2, output 0 holds NaN or infinity"),
        (np.array([[1.0, np.inf]]), "on evaluation input 2, output 0 holds NaN or infinity"),
        (np.array([1.0, 2.0]), r"on evaluation input 2, output 0 has shape [2], the original's has [1, 2]"),
        ([np.array([[-2.0, 2.0]])], "on evaluation input 2, the structure of the answer changed"),
    ],
)
def test_plain_damage_is_told_with_its_input(value: object, message: str) -> None:
    assert message in str(compare_answers(ORIGINAL, changed(2, value), 0.9))


def test_an_output_of_zeros_is_compared_absolutely() -> None:
    zeros = [np.zeros(3)]
    assert compare_answers(zeros, [np.full(3, 0.1)], 0.02) is not None
    assert compare_answers(zeros, zeros, 0.02) is None


def masked(fill: float, allowed: float) -> list[np.ndarray]:
    return [np.array([allowed, fill, -allowed, fill])]


@pytest.mark.parametrize("fill", [-np.inf, np.nan, -3.4e38])
def test_beside_excluded_answers_the_others_still_count(fill: float) -> None:
    """Without this an infinite or huge number in the original's answer would let anything pass for sane."""
    assert compare_answers(masked(fill, 2.0), masked(fill, 2.001), 0.02) is None
    assert "output 0 is 1.5 away" in str(compare_answers(masked(fill, 2.0), masked(fill, -1.0), 0.9))


@pytest.mark.parametrize(("fill", "other"), [(-np.inf, np.inf), (-np.inf, 0.0), (np.nan, 1.0), (0.0, -np.inf)])
def test_answers_must_be_excluded_alike(fill: float, other: float) -> None:
    assert "holds NaN or infinity, " in str(compare_answers(masked(fill, 2.0), masked(other, 2.0), 0.9))


def test_a_mask_may_be_infinite_in_one_number_format_and_huge_in_another() -> None:
    assert compare_answers(masked(-np.inf, 2.0), masked(-3.4e38, 2.0), 0.02) is None


class Answers(Examiner):
    """Answers are planted; the labels, the metric, the ledger and the judging are real."""

    def __init__(self, ledger: Ledger, split: Split, quality: Quality, theirs: list[Any]) -> None:
        workload: Any = SimpleNamespace(quality=quality, splits={"screening": split})
        super().__init__(workload, Any, ledger, Any, MaxDrop(0.05, relative=False), 0.05)  # type: ignore[arg-type]
        self._planted = {"original": list(split.labels or []), "candidate": theirs}

    def answer(self, seat: Any, split: str, name: str, first: int = 0) -> Path:
        path = self._ledger.folder / f"{name}.safetensors"
        write_examples(path, self._planted[name])
        return path


CANDIDATE: Any = SimpleNamespace(prepared=SimpleNamespace(recipe=SimpleNamespace(key="candidate")))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "run", {}) as made:
        yield made


def examined(ledger: Ledger, labels: Any, quality: Quality) -> Any:
    split = Split(inputs=list(labels), labels=labels)
    return Answers(ledger, split, quality, list(labels)).examine("screening", CANDIDATE, CANDIDATE)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_labels_may_be_an_array(kind: Any, ledger: Ledger) -> None:
    labels = kind([[0.0, 1.0]] * 40)
    same = per_example(lambda answer, label: float(np.array_equal(answer, np.asarray(label))), name="same")
    assert examined(ledger, labels, same)["result"]["baseline"] == 1.0


def area(answers: list[Any], labels: list[Any]) -> float:
    """Undefined where one class is missing, as the area under a curve is."""
    wanted = {int(label[0]) for label in labels}
    if len(wanted) < 2:
        raise ValueError("only one class is there")
    return float(np.mean([float(a[0]) == float(label[0]) for a, label in zip(answers, labels, strict=True)]))


def test_a_metric_that_is_undefined_on_some_resamples_is_judged_on_others(ledger: Ledger) -> None:
    labels = [np.array([float(n < 3)]) for n in range(60)]  # one in twenty resamples holds none of the three
    record = examined(ledger, labels, corpus_metric(area, name="area"))
    assert record["result"]["guard"] == Guard.HELD.value
    values = read_json(ledger.folder / record["samples"]["file"])["values"]
    assert 1 < values.count(None) < 400 and len(values) - values.count(None) >= 2000
    assert rejudge_quality(ledger.folder, record) == record["result"]


def test_a_metric_that_is_undefined_on_most_resamples_needs_other_data(ledger: Ledger) -> None:
    def strict(answers: list[Any], labels: list[Any]) -> float:
        return 1.0 if len({float(label[0]) for label in labels}) == 60 else math.nan

    with pytest.raises(WorkloadError, match=r"screening split cannot be judged: .* is undefined, or fails, on 2000 of 2000"):
        examined(ledger, [np.array([float(n)]) for n in range(60)], corpus_metric(strict, name="strict"))


def test_a_candidate_gets_a_multiple_of_the_originals_time_and_the_original_what_the_run_has(tmp_path: Path) -> None:
    waited: dict[str, float] = {}

    def call(seat: Any, method: str, arguments: Any, timeout: float) -> None:
        waited[seat] = timeout

    workload: Any = SimpleNamespace(splits={"screening": Split(inputs=[1, 2])})
    parts: Any = SimpleNamespace(folder=tmp_path, call=call, split_file=lambda name: tmp_path / name)
    examiner = Examiner(workload, parts, parts, parts, MaxDrop(0.05, relative=False), 0.05, longest=7200.0)
    seats: Any = ("original", "candidate")
    examiner.answer(seats[1], "screening", "candidate")
    assert waited == {"candidate": 7200.0}, "nothing is known yet"
    for seat in seats:
        examiner.answer(seat, "screening", str(seat))
    assert waited["original"] == 7200.0 and LEAST_PATIENCE <= waited["candidate"] < LEAST_PATIENCE + 1
