"""Padding and regrouping are planned only for models whose answers they leave alone; the models are written out here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop.contract.draft import Draft, Facts
from strop.contract.signature import infer_signature
from strop.engines.buckets import BucketPlan
from strop.engines.calls import Array
from strop.engines.openvino_shapes import plan_shapes
from strop.engines.ragged import ROWS, RaggedPlan

Answer = Callable[[Array, Array], Array]


def masked_mean(x: Array, mask: Array) -> Array:
    """Ignores what is padded, however far."""
    total: Array = (x * mask).sum(axis=1, keepdims=True) / mask.sum(axis=1, keepdims=True)
    return total


def plain_mean(x: Array, mask: Array) -> Array:
    """Reads its padding."""
    mean: Array = x.mean(axis=1, keepdims=True)
    return mean


def across_rows(x: Array, mask: Array) -> Array:
    """Ignores its padding, but rows know of the rows that they came with."""
    means = masked_mean(x, mask)
    total: Array = means + means.mean()
    return total


def per_place(x: Array, mask: Array) -> Array:
    """An answer for each place, padding included."""
    return x * 2


def spoiled_by_padding(x: Array, mask: Array) -> Array:
    return np.where((mask == 0).any(), np.nan, masked_mean(x, mask)).astype(x.dtype)


def example(rows: int, length: int, seed: int, ragged: bool = False) -> list[Array]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, length)).astype(np.float32)
    lengths = generator.integers(1, length + 1, rows) if ragged else np.full(rows, length)
    lengths[0] = length
    return [x, (np.arange(length) < lengths[:, None]).astype(np.int64)]


class Runner:
    """Answers at the shapes it is given, and remembers them."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.seen = answer, list[tuple[int, ...]]()

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        assert all(a.flags.c_contiguous for a in arrays), "an engine reads memory, not strides"
        self.seen.append(arrays[0].shape)
        return [self.answer(*arrays)]


def planned(answer: Answer, calls: Sequence[list[Array]]) -> tuple[BucketPlan, RaggedPlan, Runner]:
    examples = [{"x": torch.from_numpy(x), "mask": torch.from_numpy(mask)} for x, mask in calls]
    answers = [torch.from_numpy(np.asarray(answer(*call))) for call in calls]
    workload: Any = SimpleNamespace()
    draft = Draft(
        model=torch.nn.Identity(),
        workload=workload,
        facts=Facts(),
        seed=0,
        signature=infer_signature(examples, answers),
        examples=examples,
    )
    runner: Any = Runner(answer)
    return *plan_shapes(runner, draft), runner


SINGLE = [example(1, length, seed) for seed, length in enumerate((3, 5, 9, 4, 7))]
BATCHES = [example(2 * ROWS + 3 + seed, length, seed, ragged=True) for seed, length in enumerate((12, 20, 16))]


def test_lengths_may_be_padded_where_the_model_masks_them() -> None:
    plan, ragged, runner = planned(masked_mean, SINGLE)
    assert plan.reason == "" and [axis.inputs for axis in plan.axes] == [((0, 1), (1, 1))]
    assert plan.axes[0].edges[1][0] == (9,) and plan.axes[0].edges[1][3][-1] == 9
    assert (1, 9) in runner.seen[len(SINGLE) :], "it was padded and looked at"
    assert ragged.reason == f"no example has more than {ROWS} rows"


def test_a_model_that_reads_its_padding_is_found_out() -> None:
    plan, ragged, _ = planned(plain_mean, SINGLE)
    assert plan.reason.startswith("padding changes the answers (by ")
    assert plan.axes == () and ragged.reason == plan.reason, "what cannot be padded cannot be regrouped"


def test_an_answer_that_padding_turns_into_no_number_is_found_out() -> None:
    """NaN is neither less nor more than the tolerance."""
    plan, _, _ = planned(spoiled_by_padding, SINGLE)
    assert plan.reason.startswith("padding changes the answers (by nan")


def test_answers_for_each_place_are_compared_where_the_call_has_places() -> None:
    plan, _, _ = planned(per_place, SINGLE)
    assert plan.reason == "" and plan.axes[0].outputs == ((0, 1),)


def test_rows_may_be_regrouped_where_each_is_answered_by_itself() -> None:
    plan, ragged, runner = planned(masked_mean, BATCHES)
    assert (plan.reason, ragged.reason, ragged.mask) == ("", "", 1)
    groups = [shape for shape in runner.seen if shape[0] == ROWS]
    assert len(groups) == 3 * len(BATCHES), "three groups of each batch were looked at"
    assert {width for _, width in groups} <= {edge for edges in ragged.edges for edge in edges}


def test_rows_that_know_of_each_other_are_not_regrouped_but_may_be_padded() -> None:
    plan, ragged, _ = planned(across_rows, BATCHES)
    assert plan.reason == ""
    assert ragged.reason.startswith("regrouping the rows of a batch changes the answers (by ")


def test_one_shape_leaves_nothing_to_plan() -> None:
    plan, ragged, runner = planned(masked_mean, [example(1, 5, seed) for seed in range(4)])
    assert plan.reason == ragged.reason != ""
    assert runner.seen == [(1, 5)], "examples of one shape are answered once"


@pytest.mark.parametrize("count", [30, 100])
def test_however_many_lengths_there_are_few_are_looked_at(count: int) -> None:
    _, _, runner = planned(masked_mean, [example(1, length, length) for length in range(1, count + 1)])
    assert 12 <= len(set(runner.seen)) <= 30
