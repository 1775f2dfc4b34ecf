"""Files are whole or not there: a full disk, a bad value or an interruption leaves the old content."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import LedgerError, StropError
from strop.ledger.files import read_json, sha256, write_atomic, write_json

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(st.characters(blacklist_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"])), inner),
    max_leaves=12,
)


def beside(path: Path) -> Path:
    """Return where the new content stands until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@given(VALUES)
def test_a_value_comes_back_with_all_its_digits(value: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        write_json(path, value)
        assert read_json(path) == value
        assert json.dumps(read_json(path), sort_keys=True) == json.dumps(value, sort_keys=True)


def test_equal_values_are_equal_bytes_whatever_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 0.1 + 0.2, "a": [1, {"z": None, "y": "größe 例"}]})
    write_json(tmp_path / "b", {"a": [1, {"y": "größe 例", "z": None}], "b": 0.1 + 0.2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "größe 例" in (tmp_path / "a").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}, {"a": {1, 2}}, object()])
def test_a_value_that_json_lacks_is_refused_and_the_old_file_stays(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(path, value)
    assert read_json(path) == 1 and names(tmp_path) == {"x.json"}


def test_folders_are_made_and_old_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "ein ordner" / "例" / "x.bin"
    for content in (b"first", b"", b"\x00" * 100_000):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert names(path.parent) == {"x.bin"}


def test_a_full_disk_is_said_and_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_atomic(path, b"old")
    beside(path).symlink_to("/dev/full")
    with pytest.raises(StropError, match=r"no space left to write plan\.json; free some space and continue with --resume"):
        write_atomic(path, b"new" * 10_000)
    assert path.read_bytes() == b"old" and names(tmp_path) == {"plan.json"}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EIO, "cannot be written: Input/output error"),
        (errno.EROFS, "cannot be written: Read-only file system"),
    ],
)
def test_a_disk_that_fails_at_the_last_moment_leaves_the_old_file(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step.json"
    write_atomic(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("strop.ledger.files.os.fsync", fail)
    with pytest.raises(StropError, match=words):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == {"step.json"}


def test_an_interruption_before_the_end_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step.json"
    write_atomic(path, b"old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("strop.ledger.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer" and names(tmp_path) == {"step.json"}


def test_the_new_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step.json"
    write_atomic(path, b"old")
    seen: list[tuple[bytes, bytes]] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append((path.read_bytes(), beside(path).read_bytes()))
        sync(descriptor)

    monkeypatch.setattr("strop.ledger.files.os.fsync", look)
    write_atomic(path, b"new")
    assert seen == [(b"old", b"new")]


def test_a_folder_that_cannot_hold_the_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    with pytest.raises(StropError, match=r"x\.json cannot be written"):
        write_atomic(tmp_path / "taken" / "x.json", b"")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "inside").touch()
    with pytest.raises(StropError, match="a folder cannot be written"):
        write_atomic(tmp_path / "a folder", b"")
    assert names(tmp_path) == {"a folder", "taken"}


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe", b"{}{}"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(LedgerError, match=r"plan\.json cannot be read"):
        read_json(tmp_path / "plan.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(LedgerError, match=f"{path.name} cannot be read"):
            read_json(path)


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_digest_is_that_of_the_whole_file(size: int, tmp_path: Path) -> None:
    data = bytes(n % 251 for n in range(4096)) * (size // 4096 + 1)
    (tmp_path / "x").write_bytes(data[:size])
    assert sha256(tmp_path / "x") == hashlib.sha256(data[:size]).hexdigest()
