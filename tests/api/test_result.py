"""What a verb hands back: exit code, recipe, comparisons, the faster model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from strop.api.assemble import assemble
from strop.api.result import FAILED, INTERRUPTED, KEPT, NOTHING_PAID, Result
from strop.contract.recipe import Recipe
from strop.errors import ArtefactError, UsageError
from strop.measure.result import Verdict
from strop.report.parts import Outcome

if TYPE_CHECKING:
    from tests.conftest import WholeRun


@pytest.fixture
def result(whole_run: WholeRun) -> Result:
    """The result of the whole run, read back."""
    return Result(whole_run.folder, assemble(whole_run.folder, 60.0))


def ended(result: Result, code: int, folder: Path) -> Result:
    report = replace(result.report, outcome=Outcome(exit_code=code, kept=(), reason="planted"), gate=None)
    return Result(folder, report)


def test_exit_codes_are_those_that_are_documented() -> None:
    assert (KEPT, FAILED, NOTHING_PAID, INTERRUPTED) == (0, 1, 3, 130)


def test_a_kept_result_brings_recipe_comparisons_and_program(result: Result) -> None:
    assert result.exit_code == KEPT
    assert [instruction.name for instruction in result.recipe] == ["model_serving_framework"]
    assert set(result.comparisons) == {"batch 8", "all"}
    assert result.comparisons["all"].verdict is Verdict.FASTER
    assert result.comparisons["all"].phase == "confirm"
    assert result.bundle == result.folder / "bundle"
    program = result.program()
    assert program(np.zeros((8, 16), np.float32)).shape == (8, 4)
    program.close()


@pytest.mark.parametrize("code", [FAILED, NOTHING_PAID, INTERRUPTED])
def test_without_a_kept_result_there_is_no_recipe_and_no_program(code: int, result: Result, place: Path) -> None:
    other = ended(result, code, place)
    assert other.exit_code == code
    assert other.recipe == Recipe()
    assert other.comparisons == {}
    assert other.bundle is None
    with pytest.raises(UsageError, match="holds no bundle: planted"):
        other.program()


def test_a_bundle_that_was_damaged_afterwards_does_not_open(result: Result, place: Path) -> None:
    folder = shutil.copytree(result.folder, place / "copy")
    for path in (folder / "bundle" / "artefact").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ArtefactError, match="is damaged"):
        Result(folder, result.report).program()
