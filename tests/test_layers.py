from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "strop"
LONGEST, MEDIAN = 400, 120
LAYERED = ("contract", "measure", "observe")


def lint_imports(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))",
    ]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def planted(folder: Path, modules: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Check a package of nothing but empty layers, with ``modules`` added, against the project's own contract."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    package = folder / "src" / "strop"
    files = {f"{name}/__init__.py": "" for name in LAYERED} | {"__init__.py": "", "errors.py": "", "units.py": ""} | modules
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return lint_imports(folder, folder / "src")


def test_imports_point_down_only() -> None:
    done = lint_imports(ROOT, ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_obedient_package_passes(tmp_path: Path) -> None:
    done = planted(tmp_path, {"contract/card.py": "import strop.errors", "cli/__init__.py": "import strop.contract.card"})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "imports"),
    [
        ("measure/judge.py", "strop.contract"),
        ("contract/card.py", "strop.engines"),
        ("trial/prepare.py", "strop.search"),
        ("catalogue.py", "strop.pipeline"),
        ("search/race.py", "strop.report"),
        ("errors.py", "strop.units"),
    ],
)
def test_an_import_upwards_or_between_siblings_is_found(tmp_path: Path, name: str, imports: str) -> None:
    target = imports.removeprefix("strop.")
    aside = {} if target in (*LAYERED, "units") else {f"{target}/__init__.py": ""}
    done = planted(
        tmp_path,
        {**aside, f"{name.partition('/')[0]}/__init__.py": "", name: f"import {imports}"}
        if "/" in name
        else {**aside, name: f"import {imports}"},
    )
    assert done.returncode == 1
    assert "is not allowed to import" in done.stdout


def test_a_folder_that_is_placed_nowhere_is_found(tmp_path: Path) -> None:
    done = planted(tmp_path, {"helpers/__init__.py": ""})
    assert done.returncode == 1
    assert "strop.helpers" in done.stdout


def lengths() -> dict[str, int]:
    return {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}


def test_no_module_is_long() -> None:
    assert {name: count for name, count in lengths().items() if count > LONGEST} == {}


def test_most_modules_are_short() -> None:
    counts = sorted(lengths().values())
    assert counts[len(counts) // 2] <= MEDIAN
