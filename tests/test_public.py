from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import strop

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "openvino", "nncf", "onnx", "onnxruntime", "onnxscript", "transformers", "optuna", "scipy", "numpy")
TORCH_FREE = ("contract", "measure", "observe", "ledger", "bundle", "load", "report")


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages in memory after ``statement`` ran in a fresh interpreter."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(folder: str) -> list[str]:
    source = ROOT / "src"
    paths = sorted((source / "strop" / folder).rglob("*.py"))
    return [".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def test_names_are_sorted_and_have_one_home_each() -> None:
    assert strop.__all__ == sorted(strop.__all__)
    assert set(strop.__all__) == {*strop._HOME, "__version__"}
    assert list(strop._HOME) == sorted(strop._HOME)


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse((ROOT / "src" / "strop" / "__init__.py").read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: str(node.module) for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == strop._HOME


@pytest.mark.parametrize("name", sorted(strop._HOME))
def test_every_name_loads_and_is_documented(name: str) -> None:
    value = getattr(strop, name)
    assert name in vars(strop)
    documentation = inspect.getdoc(value) or ""
    assert len(documentation.splitlines()[0]) > 10
    if inspect.isfunction(value) and inspect.signature(value).parameters:
        hints = inspect.get_annotations(value)
        assert set(inspect.signature(value).parameters) | {"return"} <= set(hints)


@pytest.mark.parametrize(
    "order", ["import strop.diagnose.run; value = strop.diagnose", "value = strop.diagnose; import strop.diagnose.run"]
)
def test_a_folder_of_the_same_name_does_not_replace_a_verb(order: str) -> None:
    assert "strop" in loaded_by(f"import strop; {order}\nassert strop.diagnose is value and callable(value)")


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    assert dir(strop) == sorted(strop.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'strop' has no attribute 'optimise'"):
        _ = strop.optimise  # type: ignore[attr-defined]


def test_importing_strop_loads_nothing_heavy() -> None:
    assert not loaded_by("import strop") & set(HEAVY)
    assert "torch" in loaded_by("import torch")


@pytest.mark.parametrize("folder", TORCH_FREE)
def test_layers_that_measure_and_record_stay_free_of_torch(folder: str) -> None:
    modules = modules_of(folder)
    assert modules
    assert "torch" not in loaded_by("\n".join(f"import {name}" for name in modules))


def test_the_version_is_the_distribution_s() -> None:
    line = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert line == f'version = "{strop.__version__}"'


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "strop" / "py.typed").exists()
