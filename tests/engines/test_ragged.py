"""Regrouping the rows of padded batches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.contract.draft import EngineOptions
from strop.contract.signature import TensorSpec
from strop.engines import get
from strop.engines.buckets import BucketPlan, plan_buckets
from strop.engines.ragged import ROWS, RaggedPlan, Regrouper, plan_ragged, row_lengths
from strop.errors import UsageError

LOGITS = (TensorSpec(name="logits", dtype="float32", shape=(None, 2)),)


def batch(lengths: list[int], width: int | None = None) -> list[np.ndarray[Any, Any]]:
    """Token ids and mask of a batch whose rows have these lengths; padding holds zeros."""
    width = width or max(lengths)
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    return [mask * (np.arange(len(lengths))[:, None] + 1), mask]


def planned(calls: list[list[np.ndarray[Any, Any]]], outputs: tuple[TensorSpec, ...] = LOGITS, answers: Any = None) -> RaggedPlan:
    specs = [TensorSpec(name=n, dtype="int64", shape=(None, None)) for n in ("ids", "mask")][: len(calls[0])]
    shapes = [[a.shape for a in arrays] for arrays in calls]
    buckets = plan_buckets(specs, outputs, shapes, answers or [[(shapes[0][0][0], 2)]])
    return plan_ragged(buckets, calls, outputs)


USUAL = [batch([9, 3, 30, 4, 5, 6, 7, 8, 2]), batch([5])]


def test_the_mask_and_the_widths_of_sorted_groups_are_found() -> None:
    plan = planned(USUAL)
    assert plan.reason == "" and plan.mask == 1
    assert plan.edges[1] == (9, 30), "rows 2 to 9 long make one group, the row of 30 is left for the second"
    assert RaggedPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=ROWS + 1, max_size=40))
def test_groups_hold_every_row_once_whole_and_padded_to_an_edge(lengths: list[int]) -> None:
    plan = planned([*USUAL, batch([30, *lengths])])
    ids, mask = batch(lengths)
    groups = Regrouper(plan, 2).groups([ids, mask])
    assert groups is not None
    assert sorted(int(r) for group in groups for r in group.rows) == list(range(len(lengths)))
    for group in groups:
        assert [a.shape[0] for a in group.arrays] == [ROWS, ROWS] and group.shapes[0] == group.shapes[1]
        assert group.shapes[0][1] in plan.edges[1] and group.shapes[0][1] >= group.arrays[0].shape[1]
        for place, row in enumerate(group.rows):
            assert group.arrays[1][place].sum() == lengths[row], "nothing real was cut off"
            assert group.arrays[0][place].max() == row + 1


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        (batch([3] * ROWS), "few rows"),
        (batch([31] + [3] * ROWS), "a row longer than every width"),
        ([np.fliplr(a) for a in batch([9, *[3] * ROWS])], "padding at the front"),
        (batch([9, 0, *[3] * ROWS]), "a row without anything real"),
    ],
)
def test_calls_that_cannot_be_regrouped_are_answered_whole(arrays: list[np.ndarray[Any, Any]], why: str) -> None:
    assert Regrouper(planned(USUAL), 4).groups([np.ascontiguousarray(a) for a in arrays]) is None, why


def test_a_mask_with_holes_has_no_lengths() -> None:
    assert row_lengths(np.array([[1, 1, 0], [1, 0, 0]])).tolist() == [2, 1]
    assert row_lengths(np.array([[1, 0, 1], [1, 1, 1]])).tolist() == [0, 0]


def test_models_whose_rows_cannot_be_regrouped_say_why() -> None:
    assert "no example has more than 8 rows" in planned([batch([3, 5]), batch([7])]).reason
    assert "no input marks the padding" in planned([[batch([9, *[3] * ROWS])[0]], [batch([5])[0]]]).reason
    tokens = (TensorSpec(name="tokens", dtype="float32", shape=(None, None, 4)),)
    assert "that no output has" in planned(USUAL, tokens, [[(9, 30, 4)], [(1, 5, 4)]]).reason
    fixed = (TensorSpec(name="summary", dtype="float32", shape=(4,)),)
    assert "does not have a row for each row" in planned(USUAL, fixed, [[(4,)]]).reason
    assert plan_ragged(BucketPlan(reason="why not"), USUAL, LOGITS).reason == "why not"


@pytest.fixture(scope="module")
def bert(tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny transformer lowered with single calls and padded batches as its examples."""
    examples = [padded(tiny, [20, 3, 9, 4, 5, 11, 7, 8, 2, 17], seed=1), *(tiny.tokens(1, n, n) for n in (5, 9, 20))]
    draft = tiny.draft(tiny.bert(), examples, engine="openvino")
    folder = tmp_path_factory.mktemp("ragged")
    get("openvino").lower(draft, folder)
    return SimpleNamespace(draft=draft, folder=folder)


def padded(tiny: SimpleNamespace, lengths: list[int], seed: int) -> dict[str, torch.Tensor]:
    call: dict[str, torch.Tensor] = tiny.tokens(len(lengths), max(lengths), seed)
    call["attention_mask"] = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(call["attention_mask"].dtype)
    return call


def opened(lowered: SimpleNamespace, **options: Any) -> Any:
    return get("openvino").open(lowered.folder, lowered.draft.signature, EngineOptions(**options))


@pytest.mark.parametrize("lengths", [[20, 3, 9, 4, 5, 11, 7, 8, 2], [2] * 32, [1, *[20] * 15, 6], [25, *[3] * 9], [4, 6]])
def test_regrouped_answers_equal_the_models_own(lengths: list[int], bert: SimpleNamespace, tiny: SimpleNamespace) -> None:
    call = padded(tiny, lengths, seed=len(lengths))
    with torch.inference_mode():
        want = bert.draft.model(**call).logits
    assert torch.allclose(opened(bert, buckets=2, trim=True)(**call).logits, want, atol=1e-5)


def test_only_group_shapes_are_compiled_for_a_batch(bert: SimpleNamespace, tiny: SimpleNamespace) -> None:
    program = opened(bert, buckets=2, trim=True)
    assert program.compiled == 0
    program(**padded(tiny, [20, *[2] * 15], seed=3))
    assert {shapes[0][0] for shapes in program._buckets.shapes} == {ROWS} and program.compiled == 2
    program(**padded(tiny, [24, *[2] * 9], seed=3))
    assert program.compiled == 3, "a row longer than every width runs at its own shape"


def test_trim_is_refused_in_words_where_it_cannot_work(bert: SimpleNamespace, tiny: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trim=True pads groups of rows to buckets; it needs buckets=1 or more"):
        opened(bert, trim=True)
    draft = tiny.draft(tiny.bert(), [tiny.tokens(b, n, n) for b, n in ((3, 20), (1, 5))], engine="openvino")
    get("openvino").lower(draft, tmp_path)
    with pytest.raises(UsageError, match="trim=True cannot be used with this model: no example has more than 8 rows"):
        get("openvino").open(tmp_path, draft.signature, EngineOptions(buckets=1, trim=True))


def test_a_model_that_reads_across_rows_is_found_at_lowering(tiny: SimpleNamespace, tmp_path: Path) -> None:
    class Centred(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(200, 4)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            pooled = (self.table(ids) * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
            return pooled - pooled.mean(0)

    def call(lengths: list[int]) -> dict[str, torch.Tensor]:
        ids, mask = batch(lengths)
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask).float()}

    def integer(lengths: list[int]) -> dict[str, torch.Tensor]:
        return {name: value.long() for name, value in call(lengths).items()}

    draft = tiny.draft(Centred(), [integer([9, 2, 3, 4, 5, 6, 7, 8, 1]), integer([12, *[3] * 9])], engine="openvino")
    get("openvino").lower(draft, tmp_path)
    with pytest.raises(UsageError, match="regrouping the rows of a batch changes the answers"):
        get("openvino").open(tmp_path, draft.signature, EngineOptions(buckets=1, trim=True))
