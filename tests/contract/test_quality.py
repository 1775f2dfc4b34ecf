"""What a good answer is, and how much of it may be lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.quality import MaxDrop, Quality, accuracy, agreement, corpus_metric, overlap, per_example, scores, unjudged
from strop.errors import UsageError, WorkloadError

LOGITS = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], np.float32)


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [
        ("1%", 0.01, True),
        ("0.5 %", 0.005, True),
        ("0%", 0.0, True),
        ("1pt", 0.01, False),
        (" 2 pt ", 0.02, False),
        ("0.01", 0.01, False),
        ("0", 0.0, False),
        ("1e-3", 0.001, False),
        ("3", 3.0, False),
    ],
)
def test_a_budget_is_read_as_it_is_written(text: str, value: float, relative: bool) -> None:
    read = MaxDrop.parse(text)
    assert read.value == pytest.approx(value) and read.relative is relative


@pytest.mark.parametrize("text", ["", "%", "-1%", "one", "1 %%", "1 percent", "1,5%", "nan", "inf", "1%2", ".5"])
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=r"for instance 1% \(of the baseline\), 1pt or 0\.01; got"):
        MaxDrop.parse(text)


def test_a_relative_budget_follows_the_baseline_and_an_absolute_one_does_not() -> None:
    assert MaxDrop.parse("1%").margin(0.8) == pytest.approx(0.008)
    assert MaxDrop.parse("1%").margin(-20.0) == pytest.approx(0.2), "a margin is positive even where the metric is negative"
    assert MaxDrop.parse("1%").margin(0.0) == 0.0
    assert MaxDrop.parse("1pt").margin(0.8) == MaxDrop.parse("0.01").margin(123.0) == 0.01


def test_a_budget_says_what_it_is_of() -> None:
    assert str(MaxDrop.parse("1.5%")) == "1.5 % of the baseline"
    assert str(MaxDrop.parse("1pt")) == "0.01 (absolute)"


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_accuracy_is_the_share_of_largest_outputs_at_the_label(kind: Any) -> None:
    labels = [np.array([1, 0, 0])]
    assert scores(accuracy(), [kind(LOGITS)], labels).tolist() == [1, 1, 0]
    assert scores(accuracy(), [{"logits": kind(LOGITS), "hidden": kind(np.ones(9))}], labels).tolist() == [1, 1, 0]


def test_batches_are_laid_end_to_end_and_single_answers_count_as_one() -> None:
    answers: list[Any] = [LOGITS, LOGITS[0], LOGITS[1:2]]
    assert scores(accuracy(), answers, [[1, 0, 1], 1, torch.tensor([1])]).tolist() == [1, 1, 1, 1, 0]


def test_agreement_needs_no_labels_but_the_original_answers() -> None:
    quality = agreement()
    assert quality.against_original
    assert scores(quality, [LOGITS], [LOGITS * 3 + 1]).tolist() == [1, 1, 1]
    assert scores(quality, [LOGITS], [-LOGITS]).tolist() == [0, 0, 0]


def test_overlap_is_one_less_the_total_variation_of_the_classes() -> None:
    quality = overlap()
    assert quality.against_original
    assert scores(quality, [LOGITS], [LOGITS + 7.0]).tolist() == pytest.approx([1, 1, 1]), "a shift of all logits changes nothing"
    half, sure = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    assert scores(quality, [half, sure], [sure, half]).tolist() == pytest.approx([0.6, 0.6])
    assert scores(quality, [np.array([[1e4, 0.0]])], [np.array([[0.0, 1e4]])]).tolist() == pytest.approx([0.0]), "and no overflow"
    assert np.isnan(scores(quality, [np.array([[np.nan, 0.0]])], [half])).all()
    with pytest.raises(WorkloadError, match=r"logits have shape \[3, 2\], the original's \[1, 2\]"):
        scores(quality, [LOGITS], [half])


def test_an_answer_per_token_is_scored_per_token() -> None:
    tokens = np.stack([LOGITS, LOGITS[::-1]])
    for labels in (np.array([1, 0, 1, 1, 0, 1]), np.array([[1, 0, 1], [1, 0, 1]])):
        assert scores(accuracy(), [tokens], [labels]).tolist() == [1] * 6


@given(st.lists(st.floats(-1e6, 1e6), max_size=8))
def test_a_score_of_ones_own_is_taken_as_numbers(values: list[float]) -> None:
    quality = per_example(lambda answer, label: answer - label, name="difference", higher_is_better=False)
    found = scores(quality, values, [0.0] * len(values))
    assert found.dtype == np.float64 and found.tolist() == values


def fail(answer: Any, label: Any) -> Any:
    raise KeyError("logits")


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (per_example(fail, name="größe"), "quality 'größe' failed on evaluation input 0: 'logits'"),
        (
            per_example(lambda answer, label: "good", name="words"),
            "quality 'words' failed on evaluation input 0: could not convert",
        ),
        (accuracy("top 1"), "quality 'top 1' failed on evaluation input 0: the answer holds no array"),
        (unjudged("random"), "quality 'not judged' has no per-example score"),
        (corpus_metric(lambda a, b: 0.0, name="F1"), "quality 'F1' has no per-example score"),
    ],
)
def test_a_score_that_fails_is_named_with_its_input(quality: Quality, words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        scores(quality, [{"loss": 1.0}], [0])


def test_the_input_that_failed_is_counted_from_zero() -> None:
    with pytest.raises(WorkloadError, match="evaluation input 2"):
        scores(accuracy(), [LOGITS, LOGITS, {}], [[1, 0, 1], [1, 0, 1], [0]])


@pytest.mark.parametrize("label", [[1, 0], [1], 1, []])
def test_labels_that_do_not_match_the_batch_are_refused_and_none_is_spread_over_it(label: Any) -> None:
    count = np.size(label)
    with pytest.raises(WorkloadError, match=f"input 0: the answer holds 3 examples and {count} labels came; give one label per"):
        scores(accuracy(), [LOGITS], [label])
    with pytest.raises(WorkloadError, match="the answer holds 3 examples and 2 labels came"):
        scores(agreement(), [LOGITS], [LOGITS[:2]])


def test_nothing_has_no_scores() -> None:
    assert scores(accuracy(), [], []).tolist() == []


def test_each_builder_says_its_kind() -> None:
    f1 = corpus_metric(lambda answers, labels: 1.0, name="F1", higher_is_better=False)
    assert (f1.name, f1.score, f1.higher_is_better, f1.against_original) == ("F1", None, False, False)
    assert f1.metric is not None and f1.metric([], []) == 1.0
    silent = unjudged("random weights")
    assert (silent.score, silent.metric, silent.unjudged) == (None, None, "random weights")
