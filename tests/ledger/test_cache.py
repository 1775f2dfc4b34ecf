"""The cache: where it is, who may fill a place first, and what is removed when it is full."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from strop.ledger.cache import CACHE_LIMIT, prune, publish, touch


def entry(folder: Path, name: str, size: int, age: int) -> Path:
    """Make an entry of ``size`` bytes that was touched ``age`` seconds before the newest."""
    made = folder / name
    (made / "artefact").mkdir(parents=True)
    (made / "artefact" / "weights").write_bytes(b"x" * size)
    os.utime(made, (1_000_000 - age, 1_000_000 - age))
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_finished_folder_takes_its_place(tmp_path: Path) -> None:
    prepared = entry(tmp_path, ".unfinished", 3, 0)
    place = tmp_path / "neu 例" / "abc"
    assert publish(prepared, place) == place
    assert (place / "artefact" / "weights").read_bytes() == b"xxx"
    assert not prepared.exists()


def test_who_comes_second_uses_what_the_first_published(tmp_path: Path) -> None:
    place = publish(entry(tmp_path, ".first", 1, 0), tmp_path / "abc")
    late = entry(tmp_path, ".second", 2, 0)
    assert publish(late, place) == place
    assert (place / "artefact" / "weights").read_bytes() == b"x", "the first one's content"
    assert names(tmp_path) == {"abc"}, "and nothing of the second is left"


def test_a_place_that_cannot_be_taken_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    prepared = entry(tmp_path, ".unfinished", 1, 0)
    (tmp_path / "abc").write_text("a file")
    with pytest.raises(OSError, match="abc"):
        publish(prepared, tmp_path / "abc")
    assert (prepared / "artefact" / "weights").exists() and (tmp_path / "abc").read_text() == "a file"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for name, age in (("middle", 20), ("newest", 10), ("oldest", 30)):
        entry(tmp_path, name, 100, age)
    prune(tmp_path, 300)
    assert names(tmp_path) == {"newest", "middle", "oldest"}, "what just fits stays"
    prune(tmp_path, 299)
    assert names(tmp_path) == {"newest", "middle"}
    prune(tmp_path, 100)
    assert names(tmp_path) == {"newest"}
    prune(tmp_path, 0)
    assert names(tmp_path) == set()


def test_graphs_count_too_and_their_folder_stays(tmp_path: Path) -> None:
    entry(tmp_path, "artefact", 100, 10)
    graphs = tmp_path / "graphs"
    entry(graphs, "old", 100, 30)
    entry(graphs, "new", 100, 5)
    prune(tmp_path, 200)
    assert names(tmp_path) == {"artefact", "graphs"} and names(graphs) == {"new"}
    prune(tmp_path, 0)
    assert names(tmp_path) == {"graphs"} and names(graphs) == set()


def test_files_beside_the_entries_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "selftest.json").write_text("{}")
    entry(tmp_path, "old", 10, 0)
    prune(tmp_path, 0)
    assert names(tmp_path) == {"selftest.json"}


def test_a_cache_that_is_not_there_needs_no_pruning(tmp_path: Path) -> None:
    prune(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_usual_limit_keeps_small_entries(tmp_path: Path) -> None:
    entry(tmp_path, "small", 100, 0)
    prune(tmp_path)
    assert names(tmp_path) == {"small"} and CACHE_LIMIT > 10**9


def test_what_another_process_takes_away_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        entry(tmp_path, name, 100, 0)
    stat = Path.stat

    def vanishing(path: Path, **options: Any) -> Any:
        if path.parent == tmp_path and path.name == "a" and sys._getframe(1).f_code.co_name == "_stat":
            raise FileNotFoundError(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    prune(tmp_path, 50)
    assert not (tmp_path / "b").exists()


def test_what_is_in_use_is_forgotten_last(tmp_path: Path) -> None:
    for name, age in (("used", 10), ("idle", 0)):
        entry(tmp_path, name, 100, age)
    touch(tmp_path / "used")
    touch(tmp_path / "gone")
    prune(tmp_path, 100)
    assert (tmp_path / "used").exists() and not (tmp_path / "idle").exists()
