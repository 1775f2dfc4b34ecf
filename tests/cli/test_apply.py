"""``strop apply``: a recipe becomes a bundle, or the reason why not."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strop.bundle import read_manifest

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]
Process = Callable[..., subprocess.CompletedProcess[str]]

ENGINE = "strop: 1\ninstructions:\n  model_serving_framework: {engine: openvino}\n"


def recipe(place: Path, text: str) -> Path:
    path = place / "a recipe 配方.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_becomes_a_bundle_that_says_what_was_done(
    tiny_workload: Path, place: Path, strop_cli: Cli, json_value: Json
) -> None:
    out = place / "a bundle 包"
    answer = strop_cli("apply", recipe(place, ENGINE), tiny_workload, "--out", out)
    assert answer.code == 0, answer.err
    manifest = read_manifest(out)
    assert answer.out.splitlines() == [
        "model_serving_framework: 1 model lowered to openvino",
        f"Bundle: {out} (openvino, {len(manifest.files)} files)",
    ]
    assert manifest.origin.how == "strop apply"
    assert manifest.quality == {} and not any("speedup" in row for row in manifest.latency.values()), "nothing is claimed"

    answer = strop_cli("apply", recipe(place, ENGINE), tiny_workload, "--out", out, "--json")
    assert json_value(answer.out)["files"] == dict(manifest.files)
    assert [path.name for path in out.parent.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            "strop: 1\ninstructions:\n  static_quantization: {}",
            2,
            "static_quantization needs an engine that runs calibrated int8",
        ),
        ("strop: 1\ninstructions:\n  amp_optimizer: {}\n  amp_optimiser: {}", 2, "Did you mean 'amp_optimizer'?"),
        ("strop: 1\ninstructions:\n  model_serving_framework: {engin: openvino}", 2, "Did you mean 'engine'?"),
        ("strop: 1\ninstructions:\n  model_serving_framework: {engine: tensorrt}", 2, "'tensorrt' is not one of 'openvino'"),
        ("strop: 1\ninstructions:\n  model_serving_framework: {buckets: 9}", 2, "buckets must be between 0 and 4, got 9"),
        ("strop: 1\ninstruction: {}", 2, "unknown key 'instruction'. Did you mean 'instructions'?"),
        ("hello", 2, "is not a strop recipe"),
        ("strop: 1\ninstructions:\n  model_serving_framework: {buckets: 4}", 1, "declined: model_serving_framework: buckets=4"),
    ],
    ids=lambda value: value.splitlines()[-1] if isinstance(value, str) else "",
)
def test_a_recipe_that_cannot_be_applied_says_why_and_writes_nothing(
    text: str, code: int, message: str, tiny_workload: Path, place: Path, strop_cli: Cli
) -> None:
    answer = strop_cli("apply", recipe(place, text), tiny_workload, "--out", place / "bundle")
    assert (answer.code, answer.out) == (code, "")
    assert message in answer.err
    assert not (place / "bundle").exists()


def test_a_missing_package_is_told_with_the_command_that_brings_it(
    tiny_workload: Path, place: Path, strop_process: Process, python_path: Callable[[Path], str]
) -> None:
    """A ``sitecustomize`` hides the package from every process that strop starts."""
    (place / "hidden").mkdir()
    (place / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['openvino'] = None\n")
    environment = {**os.environ, "PYTHONPATH": python_path(place / "hidden")}
    done = strop_process(["apply", recipe(place, ENGINE), tiny_workload, "--out", place / "bundle"], environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "lacks dependency: engine openvino needs packages that are not installed" in done.stderr
    assert "pip install 'strop[openvino]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "bundle").exists()


def test_a_new_bundle_takes_the_place_of_an_old_one_only_when_it_is_whole(
    tiny_workload: Path, place: Path, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = place / "bundle"
    original = recipe(place, "strop: 1")
    assert strop_cli("apply", original, tiny_workload, "--out", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("strop.bundle.write._write", full)
    answer = strop_cli("apply", original, tiny_workload, "--out", out)
    assert answer.code == 1
    assert "No space left on device" in answer.err
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
