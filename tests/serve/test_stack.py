"""Stacking calls and taking answers apart: everybody gets their own rows, or an error."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from strop.contract.signature import Signature, TensorSpec
from strop.engines.ragged import RaggedPlan
from strop.errors import ArtefactError
from strop.serve.problem import Problem
from strop.serve.stack import EDGES, Stacker, WrongAnswerError, read_padding

Make = Callable[..., Signature]
PADDING = RaggedPlan(mask=1, lengths=((0, 1), (1, 1)), edges=((8,),))


def tokens() -> Signature:
    leaves = [{"kind": "leaf", "index": index} for index in range(2)]
    specs = tuple(TensorSpec(name=name, dtype="int64", shape=(None, None)) for name in ("ids", "mask"))
    return Signature(
        inputs=specs,
        input_tree={
            "kind": "list",
            "children": [{"kind": "list", "children": []}, {"kind": "dict", "keys": ["ids", "mask"], "children": leaves}],
        },
        outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 3)),),
        output_tree=leaves[0],
    )


def sentence(rows: int, length: int, value: int = 5) -> list[np.ndarray]:
    return [np.full((rows, length), value), np.ones((rows, length), np.int64)]


def test_rows_are_stacked_in_order_and_come_back_to_their_calls(signature: Make) -> None:
    stacker = Stacker(signature(None, 2))
    calls = [[np.full((rows, 2), rows, np.float32)] for rows in (1, 3, 2)]
    bucket, rows = stacker.bucket(calls[1])
    assert (rows, bucket.width) == (3, 2)
    assert bucket == stacker.bucket(calls[0])[0]
    (whole,), kwargs = stacker.stack(calls, bucket)
    assert (whole[:, 0].tolist(), kwargs) == ([1, 3, 3, 3, 2, 2], {})
    for call, (part,) in zip(calls, stacker.split(whole * 2, [1, 3, 2]), strict=True):
        assert np.array_equal(part, 2 * call[0])


@pytest.mark.parametrize("rows", [5, 7])
def test_a_wrong_number_of_rows_is_never_shared_out(signature: Make, rows: int) -> None:
    with pytest.raises(WrongAnswerError, match="for 6 rows"):
        Stacker(signature(None, 2)).split(np.zeros((rows, 2), np.float32), [1, 3, 2])


def test_without_a_batch_dimension_calls_stay_alone(signature: Make) -> None:
    stacker = Stacker(signature(2, 2))
    assert not stacker.batchable
    call = [np.ones((2, 2), np.float32)]
    bucket, rows = stacker.bucket(call)
    assert rows == 1
    assert stacker.stack([call], bucket)[0][0] is call[0]
    assert np.array_equal(stacker.split(call[0], [1])[0][0], call[0])


def test_other_shapes_share_a_batch_only_where_padding_was_found_safe() -> None:
    careful, padding = Stacker(tokens()), Stacker(tokens(), PADDING)
    short, long = sentence(1, 9), sentence(2, 11)
    assert careful.bucket(short)[0] != careful.bucket(long)[0]
    bucket, rows = padding.bucket(long)
    assert (bucket.width, rows) == (12, 2)
    assert bucket == padding.bucket(short)[0]
    args, kwargs = padding.stack([short, long], bucket)
    assert args == ()
    assert kwargs["ids"].shape == (3, 12)
    assert kwargs["ids"].sum(1).tolist() == [45, 55, 55]
    assert kwargs["mask"].sum(1).tolist() == [9, 11, 11], "padding is marked as such"
    assert Stacker(tokens(), RaggedPlan(reason="unsafe")).padding is None


def test_edges_waste_at_most_half_and_long_rows_pass() -> None:
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(EDGES))
    assert Stacker(tokens(), PADDING).bucket(sentence(1, EDGES[-1] + 1))[0].width == EDGES[-1] + 1


def test_inputs_that_disagree_are_refused() -> None:
    stacker = Stacker(tokens(), PADDING)
    with pytest.raises(Problem, match="equally many rows"):
        stacker.bucket([sentence(1, 4)[0], sentence(2, 4)[1]])
    with pytest.raises(Problem, match="ids, mask must have the same length"):
        stacker.bucket([sentence(1, 4)[0], sentence(1, 5)[1]])


def test_padding_is_read_from_the_bundle_and_damage_is_told(tmp_path: Path) -> None:
    assert read_padding(tmp_path) is None
    (tmp_path / "engine.json").write_text("{}")
    assert read_padding(tmp_path) is None
    (tmp_path / "engine.json").write_text('{"ragged": {"mask": 1}}')
    with pytest.raises(ArtefactError, match="record of padding is damaged"):
        read_padding(tmp_path)


def test_the_padded_share_counts_what_makes_rows_equally_long() -> None:
    stacker = Stacker(tokens(), PADDING)
    calls = [sentence(1, 6), sentence(2, 8)]
    bucket = stacker.bucket(calls[0])[0]
    assert bucket == stacker.bucket(calls[1])[0]
    assert stacker.padded_share(calls, bucket) == pytest.approx(2 / 24)
    assert stacker.padded_share(calls[1:], bucket) == 0


def test_nothing_is_padded_where_nothing_varies(signature: Make) -> None:
    stacker = Stacker(signature(None, 2))
    call = [np.zeros((3, 2), np.float32)]
    assert stacker.padded_share([call], stacker.bucket(call)[0]) == 0
