"""Batches of similar length: each sample once, less padding, limits kept, and a refusal where nothing can be saved."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strop.contract.draft import Draft
from strop.contract.tally import Tally
from strop.contract.training import Training
from strop.instructions.data.i06_length_bucketing import LengthBucketing, dynamic_batching, padding
from strop.loop.loop import TrainingLoop
from strop.loop.step import one_after_another
from strop.measure.host import Host
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import sentences_workload, training_draft, training_draft_for

HOST = Host(cpu="test", cores=2)


def one_length() -> Draft:
    return training_draft(data=[row for row in sentences_workload().data if len(row[0]) == 5])


def already_sorted() -> Draft:
    """One batch holds everything, so no order can change its padding."""
    return training_draft(batch_size=24)


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=LengthBucketing(window=2), draft=training_draft, foreign=one_length, idle=(LengthBucketing(), already_sorted)
    )


def log_normal(count: int = 600, **changes: Any) -> Draft:
    lengths = np.random.default_rng(0).lognormal(3, 0.7, count).astype(int) + 1
    data = [(np.zeros(n), 0) for n in lengths]
    return training_draft_for(sentences_workload(data=data, batch_size=16, **changes))


def bucketed(draft: Draft, **settings: Any) -> tuple[Training, Tally, list[int]]:
    tally = Tally()
    LengthBucketing(**settings).at_data(draft, tally)
    assert draft.training is not None
    return draft.training, tally, [len(row[0]) for row in draft.training.data]


@pytest.mark.parametrize("settings", [{}, {"window": 1}, {"max_tokens": 500}, {"max_batch_size": 7, "window": 3}])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_each_sample_comes_exactly_once_an_epoch(settings: dict[str, Any], epoch: int) -> None:
    plan, _, lengths = bucketed(log_normal(), **settings)
    assert sorted(number for batch in plan.batches(epoch) for number in batch) == list(range(len(lengths)))
    assert plan.batches(epoch) == plan.batches(epoch) != plan.batches(epoch + 1)


def test_padding_falls_to_a_fraction_and_the_tally_says_by_how_much() -> None:
    plain = log_normal()
    assert plain.training is not None
    lengths = [len(row[0]) for row in plain.training.data]
    before = padding(plain.training, lengths)
    plan, tally, _ = bucketed(log_normal())
    assert before / (before + sum(lengths)) > 0.4
    assert padding(plan, lengths) < 0.1 * before
    assert tally.to_json() == {"padding tokens saved per epoch": before - padding(plan, lengths)}


def test_a_larger_window_saves_more_and_the_batches_stay_mixed() -> None:
    found = [bucketed(log_normal(), window=window) for window in (1, 4, 50)]
    saved = [tally.total for _, tally, _ in found]
    assert saved[0] == 0 < saved[1] < saved[2]
    plan, _, lengths = found[2]
    longest = [max(lengths[n] for n in batch) for batch in plan.batches(0)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_micro_batches_are_what_is_padded() -> None:
    plan, _, lengths = bucketed(log_normal(micro_batch=4))
    cut = [[lengths[n] for n in batch[start : start + 4]] for batch in plan.batches(0) for start in range(0, len(batch), 4)]
    assert padding(plan, lengths) == sum(len(part) * max(part) - sum(part) for part in cut)


def test_a_token_budget_holds_padding_included() -> None:
    plan, _, lengths = bucketed(log_normal(), max_tokens=200, max_batch_size=1000)
    sizes = [len(batch) * max(lengths[n] for n in batch) for batch in plan.batches(0)]
    assert max(sizes) <= 200 and len({len(batch) for batch in plan.batches(0)}) > 3


@pytest.mark.parametrize(
    ("draft", "settings", "words"),
    [
        (lambda: training_draft(length=None), {}, r"does not say how long.*TrainingWorkload\(length="),
        (one_length, {}, "all samples have one length"),
        (training_draft, {"max_tokens": 13}, "sample 11 is 14 long, more than max_tokens=13"),
    ],
)
def test_it_declines_in_words(draft: Any, settings: dict[str, Any], words: str) -> None:
    import re

    assert re.search(words, str(LengthBucketing(**settings).decline(draft(), HOST)))


@pytest.mark.parametrize("name", ["max_batch_size", "max_tokens", "window"])
def test_limits_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        LengthBucketing(**{name: 0})


@given(st.lists(st.text(max_size=9)), st.integers(1, 8))
def test_dynamic_batching_loses_and_doubles_nothing(samples: list[str], most: int) -> None:
    batches = dynamic_batching(samples, most)
    assert Counter(s for batch in batches for s in batch) == Counter(samples)
    assert all(0 < len(batch) <= most for batch in batches)
    flat = [len(s) for batch in batches for s in batch]
    assert flat == sorted(flat)


def test_dynamic_batching_keeps_a_token_budget_and_refuses_what_cannot_fit() -> None:
    assert dynamic_batching(["a" * n for n in (1, 2, 3, 4)], 10, max_tokens=6) == [["a", "aa"], ["aaa"], ["aaaa"]]
    assert dynamic_batching([3, 1, 2], 2, length=int) == [[1, 2], [3]]
    with pytest.raises(ValueError, match="a sample is 4 long, more than max_tokens=3"):
        dynamic_batching(["aaaa"], 2, max_tokens=3)
    with pytest.raises(ValueError, match="max_batch_size must be at least 1"):
        dynamic_batching(["a"], 0)


def test_cutting_a_batch_keeps_its_samples_and_saves_padding_with_every_cut() -> None:
    whole, _, lengths = bucketed(log_normal())
    cut, tally, _ = bucketed(log_normal(), split_tokens=64)
    for batch in cut.batches(0):
        parts = cut.split(batch)
        assert sorted(number for part in parts for number in part) == sorted(batch)
        for one, two in pairwise(parts):
            assert max(lengths[n] for n in one) <= min(lengths[n] for n in two)
            assert len(one) * (max(lengths[n] for n in two) - max(lengths[n] for n in one)) >= 64
    assert cut.batches(0) == whole.batches(0) and padding(cut, lengths) < padding(whole, lengths)
    assert tally.total > bucketed(log_normal())[1].total


def test_a_batch_that_is_cut_gives_the_gradients_of_the_whole_batch() -> None:
    def gradients(**settings: int) -> tuple[int, list[Tensor]]:
        draft = training_draft(batch_size=12)
        plan, _, _ = bucketed(draft, window=1, **settings)
        with TrainingLoop(draft.model, plan, seed=0) as loop:
            micros = loop.micros(plan.batches(0)[0])
            one_after_another(loop, micros)
        return len(micros), [parameter.grad for parameter in draft.model.parameters() if parameter.grad is not None]

    (whole, plain), (parts, cut) = gradients(), gradients(split_tokens=8)
    assert whole == 1 < parts
    for one, two in zip(plain, cut, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_a_split_that_the_workload_asks_for_is_cut_further() -> None:
    draft = log_normal(micro_batch=8)
    plan, _, _ = bucketed(draft, split_tokens=16)
    assert all(len(part) <= 8 for batch in plan.batches(0) for part in plan.split(batch))
