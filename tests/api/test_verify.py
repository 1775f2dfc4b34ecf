"""``strop.verify``: one list of checks, wherever the run lies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import strop
from strop.errors import RunDirectoryError

if TYPE_CHECKING:
    from tests.conftest import WholeRun


def test_a_true_run_holds_by_path_and_by_text_and_after_it_was_moved(whole_run: WholeRun, place: Path) -> None:
    checks = strop.verify(whole_run.folder)
    assert len(checks) > 10
    assert [check for check in checks if check.problem] == []
    assert strop.verify(str(whole_run.folder)) == checks
    assert strop.verify(shutil.copytree(whole_run.folder, place / "moved 移")) == checks


def test_every_file_with_samples_is_checked_by_digest_and_by_verdict(whole_run: WholeRun) -> None:
    checks = strop.verify(whole_run.folder)
    for folder in ("samples", "scores"):
        for path in (whole_run.folder / folder).iterdir():
            name = f"{folder}/{path.name}"
            assert sum(check.file == name and check.what == "digest" for check in checks) >= 2, "by its step and by the listing"
            assert any(check.file == name and "verdict follows" in check.what for check in checks), name


def test_a_verdict_that_was_made_up_does_not_follow(whole_run: WholeRun, place: Path) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    step = next((folder / "steps").glob("*confirm-*"))
    step.write_text(step.read_text().replace('"faster"', '"slower"', 1))
    problems = {check.file: check.problem for check in strop.verify(folder) if check.problem}
    assert f"steps/{step.name}" in problems
    assert any("does not follow from" in problem for problem in problems.values())


def test_a_folder_without_a_run_is_refused(place: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"plan\.json is missing"):
        strop.verify(place)
