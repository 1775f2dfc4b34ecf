from __future__ import annotations

from pathlib import Path

import pytest

from strop.bundle.trust import record_written, written_here

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


def test_a_reference_is_trusted_with_the_artefact_that_it_was_written_with_only() -> None:
    """Else somebody could put a workload of his own beside the files of a bundle that everybody has."""
    record_written(FILES, "here.py")
    assert written_here(FILES, "here.py")
    assert not written_here(FILES, "there.py") and not written_here(FILES)


def test_a_cache_that_cannot_be_written_is_a_warning_and_the_bundle_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="could not be noted .* asks for --trust"):
        record_written(FILES)
    assert not written_here(FILES)
