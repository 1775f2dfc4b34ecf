from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import new_instruction
from strop import catalogue

ROOT = Path(__file__).resolve().parents[2]


def test_a_new_name_gets_the_next_free_number(tmp_path: Path) -> None:
    free = catalogue.all()[-1].number + 1
    code, test = new_instruction.scaffold("weight_tying", "inference", tmp_path)
    assert code == tmp_path / f"src/strop/instructions/inference/i{free:02d}_weight_tying.py"
    assert test == tmp_path / f"tests/instructions/inference/test_i{free:02d}_weight_tying.py"


def test_a_planned_name_keeps_its_number(tmp_path: Path) -> None:
    row = catalogue.planned()[0]
    code, _ = new_instruction.scaffold(row.name, row.family, tmp_path)
    assert code.name == f"i{row.number:02d}_{row.name}.py"


def test_only_the_two_files_and_a_missing_package_are_written(tmp_path: Path) -> None:
    new_instruction.scaffold("weight_tying", "inference", tmp_path)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3
    new_instruction.scaffold("other_thing", "inference", tmp_path)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 5


def test_what_is_written_parses_and_names_the_class_in_the_test(tmp_path: Path) -> None:
    code, test = new_instruction.scaffold("weight_tying", "inference", tmp_path)
    classes = [node.name for node in ast.parse(code.read_text()).body if isinstance(node, ast.ClassDef)]
    assert classes == ["WeightTying"]
    ast.parse(test.read_text())
    assert "import WeightTying" in test.read_text()


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")])
def test_what_is_written_passes_the_linter(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    new_instruction.scaffold("weight_tying", "inference", tmp_path)
    command = [sys.executable, "-m", "ruff", *arguments, "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_an_unfilled_scaffold_passes_the_laws_of_form_and_fails_the_one_of_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, test = new_instruction.scaffold("weight_tying", "inference", tmp_path)
    module = f"strop.instructions.inference.{code.stem}"
    import importlib

    package = importlib.import_module("strop.instructions.inference")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(code.parent)])
    cls = importlib.import_module(module).WeightTying
    from strop.testing.case import LawBroken, LawCase
    from strop.testing.laws import law_docstring, law_fidelity, law_form
    from strop.testing.models import conv_draft, mlp_draft

    case = LawCase(instruction=cls(smallest=1), draft=mlp_draft, idle=(cls(smallest=1), conv_draft))
    law_form(case, tmp_path)
    law_docstring(case, tmp_path)
    with pytest.raises(LawBroken, match="no effect"):
        law_fidelity(case, tmp_path / "out")
    monkeypatch.delitem(sys.modules, module)
    assert "LawCase" in test.read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    code, _ = new_instruction.scaffold("weight_tying", "inference", tmp_path)
    code.write_text("mine")
    with pytest.raises(ValueError, match="exists already; nothing was written"):
        new_instruction.scaffold("weight_tying", "inference", tmp_path)
    assert code.read_text() == "mine"


def test_a_built_name_is_refused() -> None:
    with pytest.raises(ValueError, match="static_quantization is built already"):
        new_instruction.number_for("static_quantization", "inference")


def test_a_planned_name_in_another_family_is_refused() -> None:
    row = catalogue.planned()[0]
    other = "trust" if row.family != "trust" else "data"
    with pytest.raises(ValueError, match=f"Run with --family {row.family}"):
        new_instruction.number_for(row.name, other)


@pytest.mark.parametrize("name", ["WeightTying", "weight-tying", "9lives", "weight__tying"])
def test_an_ill_formed_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        new_instruction.main([name, "--family", "inference"])
    assert caught.value.code == 2
    assert "lower_case_with_underscores" in capsys.readouterr().err


def test_the_command_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(new_instruction, "ROOT", tmp_path)
    row = catalogue.planned()[0]
    assert new_instruction.main([row.name, "--family", row.family]) == 0
    said = capsys.readouterr().out
    assert f"i{row.number:02d}_{row.name}.py" in said
    assert "take its row out" in said
    assert new_instruction.main([row.name, "--family", row.family]) == 2
