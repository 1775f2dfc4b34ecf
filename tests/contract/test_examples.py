"""Examples on disk: the same bytes come back, damage and a full disk are said, and a digest sees every change."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strop.contract.examples import digest, elements, read_examples, write_examples
from strop.contract.pytree import Record, flatten, map_leaves
from strop.contract.signature import as_call
from strop.errors import LedgerError, StropError

TREES: list[Any] = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    (np.zeros((0, 4), np.int64), "größe", None, 2.5),
    {"input_ids": np.ones((1, 5), np.int64), "nested": [np.array(3, np.uint8), {"flag": True}]},
    [],
]


def equal(left: Any, right: Any) -> bool:
    (one, tree), (two, other) = flatten(left), flatten(right)
    return tree == other and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_examples_come_back_with_structure_dtype_shape_and_values(tmp_path: Path) -> None:
    path = tmp_path / "beispiele 例" / "deep" / "0.safetensors"
    write_examples(path, TREES)
    got = read_examples(path)
    assert len(got) == len(TREES)
    assert all(map(equal, got, TREES))
    assert got[2]["nested"][0].shape == ()


def test_no_examples_are_a_file_too(tmp_path: Path) -> None:
    write_examples(tmp_path / "0.safetensors", [])
    assert read_examples(tmp_path / "0.safetensors") == []


@given(
    hnp.arrays(st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.float16]), hnp.array_shapes(min_side=0))
)
def test_any_array_comes_back_whatever_its_layout(array: np.ndarray[Any, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        write_examples(path, [array, array.T, array[::2] if array.ndim else array])
        got = read_examples(path)
    for have, want in zip(got, [array, array.T, array[::2] if array.ndim else array], strict=True):
        assert have.dtype == want.dtype and have.shape == want.shape
        np.testing.assert_array_equal(have, want)


def test_tensors_are_written_as_arrays_and_records_stay_records(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_examples(path, [Record(logits=torch.ones(2, 3).T, low=torch.full((2,), 1.5, dtype=torch.bfloat16))])
    (got,) = read_examples(path)
    assert isinstance(got, Record) and got.logits.shape == (3, 2)
    assert got.low.dtype == np.float32 and got.low.tolist() == [1.5, 1.5]


def test_more_than_ten_examples_keep_their_order(tmp_path: Path) -> None:
    write_examples(tmp_path / "x.safetensors", [np.array([n]) for n in range(25)])
    assert [int(x[0]) for x in read_examples(tmp_path / "x.safetensors")] == list(range(25))


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "not a file":
        path.unlink()
        path.mkdir()
    elif how == "without description":
        from safetensors.numpy import save_file

        save_file({"0/0": np.ones(1)}, path)
    else:
        path.write_bytes({"empty": b"", "truncated": whole[:-3], "cut header": whole[:20], "text": b"not an example"}[how])


@pytest.mark.parametrize("how", ["missing", "not a file", "empty", "truncated", "cut header", "text", "without description"])
def test_a_damaged_file_is_named_with_what_to_do(how: str, tmp_path: Path) -> None:
    path = tmp_path / "points.safetensors"
    write_examples(path, TREES)
    damage(path, how)
    with pytest.raises(LedgerError, match=r"points\.safetensors does not hold readable examples .*start it again"):
        read_examples(path)


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "points.safetensors"
    write_examples(path, [np.ones(3)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(StropError, match=r"points\.safetensors cannot be written .*free some space"):
            write_examples(path, [np.zeros(100_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert equal(read_examples(path), [np.ones(3)])
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_taken_by_a_folder_is_said_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "points.safetensors"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(StropError, match=r"points\.safetensors cannot be written"):
        write_examples(path, [np.ones(3)])
    assert list(tmp_path.iterdir()) == [path] and (path / "inside").is_dir()


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "points.safetensors"
    write_examples(path, [np.ones(3)])
    with pytest.raises(StropError, match="is a set"):
        write_examples(path, [{1, 2}])
    assert equal(read_examples(path), [np.ones(3)])


def test_equal_examples_have_equal_digests_whatever_holds_them() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert digest({"x": array}) == digest({"x": torch.from_numpy(array)}) == digest({"x": np.asfortranarray(array)})
    assert digest([array, 1, None]) == digest([array.copy(), 1, None])


BASE = {"x": np.arange(4, dtype=np.float32), "k": 3}
CHANGES: dict[str, Any] = {
    "value": {"x": np.array([0, 1, 2, 4], np.float32), "k": 3},
    "sign of zero": {"x": np.array([-0.0, 1, 2, 3], np.float32), "k": 3},
    "dtype of the same bytes": {"x": np.arange(4, dtype=np.float32).view(np.int32), "k": 3},
    "shape": {"x": np.arange(4, dtype=np.float32).reshape(2, 2), "k": 3},
    "constant": {"x": np.arange(4, dtype=np.float32), "k": 4},
    "name": {"y": np.arange(4, dtype=np.float32), "k": 3},
    "container": [np.arange(4, dtype=np.float32), 3],
    "more": {"x": np.arange(4, dtype=np.float32), "k": 3, "z": None},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_digest_sees_every_change(change: str) -> None:
    assert digest(CHANGES[change]) != digest(BASE)


def test_a_digest_is_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from strop.contract.examples import digest;"
        "print(digest({'x': np.arange(4, dtype=np.float32), 'k': 3}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == digest(BASE)


@pytest.mark.parametrize("example", TREES)
def test_elements_count_the_same_however_the_call_is_written(example: Any) -> None:
    """What a workload gives and what a process calls the model with are ranked by one number."""
    wanted = sum(leaf.size for leaf in flatten(example)[0])
    args, kwargs = as_call(example)
    assert elements(example) == elements((args, kwargs)) == elements(map_leaves(torch.as_tensor, example)) == wanted
