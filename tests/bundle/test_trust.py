from __future__ import annotations

from pathlib import Path

import pytest

from strop.bundle.trust import cache_folder, record_written, written_here

FILES = {"model.pt2": "a" * 64, "engine.json": "b" * 64}


def test_only_what_was_recorded_was_written_here() -> None:
    assert not written_here(FILES)
    record_written(FILES)
    assert written_here(dict(reversed(FILES.items())))
    assert not written_here(FILES | {"model.pt2": "c" * 64})
    assert not written_here(FILES | {"more": "a" * 64})
    assert not written_here({})


def test_the_record_lies_in_the_cache_and_holds_nothing(cache: Path) -> None:
    record_written(FILES)
    (entry,) = (cache / "strop" / "written").iterdir()
    assert entry.read_bytes() == b"" and entry.stat().st_mode & 0o077 == 0


def test_a_relative_cache_variable_is_ignored_as_its_standard_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "strop"
