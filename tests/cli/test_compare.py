"""``strop compare``: two recipes side by side, judged by fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strop.api.compare import Compared
from strop.contract.recipe import Recipe
from strop.measure.quality import judge_agreement
from strop.measure.result import Finding, Verdict
from tests.search.conftest import compared

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]

ORIGINAL = "strop: 1"
ENGINE = "strop: 1\ninstructions:\n  model_serving_framework: {engine: openvino}\n"


def test_one_core_without_avx_512_measures_and_answers_in_one_json_value(
    tiny_workload: Path, place: Path, json_value: Json
) -> None:
    plain = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    command = ["taskset", "-c", "0", sys.executable, "-m", "strop", "compare", str(tiny_workload), ORIGINAL, ENGINE]
    done = subprocess.run(
        [*command, "--rounds", "2", "--pairs", "4", "--max-drop", "2%", "--out", str(place / "run"), "--json"],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json_value(done.stdout)
    assert set(said) == {"comparisons", "quality"}
    assert set(said["comparisons"]) == {"batch 8", "all"}
    assert said["comparisons"]["all"]["rounds"] == 2
    assert said["comparisons"]["all"]["phase"] == "confirm"
    assert (said["quality"]["guard"], said["quality"]["n"], said["quality"]["baseline"]) == ("held", 480, 0.9)
    assert json_value((place / "run" / "host.json").read_text())["cores"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-drop", "lots"], "a quality budget was expected"),
        (["--rounds", "1"], "rounds of a measuring plan must be 2 or more: one process pair says nothing about the next; got 1"),
        (["--pairs", "1"], "pairs of a measuring plan must be 2 or more; got 1"),
    ],
)
def test_a_plan_that_cannot_be_is_told_before_anything_is_written(
    options: list[str], message: str, tiny_workload: Path, place: Path, strop_cli: Cli
) -> None:
    answer = strop_cli("compare", tiny_workload, ORIGINAL, ENGINE, *options, "--out", place / "run")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("missing.yaml", "the recipe missing.yaml cannot be read"),
        ("strop: 2", "its first line must be 'strop: 1'"),
        ("strop: 1\ninstructions:\n  static_quantisation: {}", "Did you mean 'static_quantization'?"),
        (
            "strop: 1\ninstructions:\n  memory_layout: {thread: 2}",
            "MemoryLayout has no setting 'thread'. Did you mean 'threads'?",
        ),
        ("strop: 1\ninstructions:\n  memory_layout: {threads: two}", "MemoryLayout: "),
        ("strop: 1\ninstructions: [", "is not readable YAML"),
    ],
    ids=lambda value: value.splitlines()[-1],
)
@pytest.mark.parametrize("place_of_recipe", ["first", "second"])
def test_a_recipe_that_cannot_be_read_is_told_with_the_nearest_name(
    recipe: str, message: str, place_of_recipe: str, tiny_workload: Path, place: Path, strop_cli: Cli
) -> None:
    recipes = [recipe, ORIGINAL] if place_of_recipe == "first" else [ORIGINAL, recipe]
    answer = strop_cli("compare", tiny_workload, *recipes, "--out", place / "run")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (place / "run").exists()


def test_a_recipe_that_does_nothing_here_is_told_with_its_reason(tiny_workload: Path, place: Path, strop_cli: Cli) -> None:
    recipe = "strop: 1\ninstructions:\n  memory_layout: {channels_last: true}"
    answer = strop_cli("compare", tiny_workload, ORIGINAL, recipe, "--out", place / "run")
    assert (answer.code, answer.out) == (1, "")
    assert "38 memory_layout" in answer.err
    assert "declined" in answer.err


def test_a_text_for_people_names_point_verdict_and_quality(
    tiny_workload: Path, place: Path, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from strop.measure.result import Comparison, Interval, Verdict

    interval = Interval(low=1.9, estimate=2.0, high=2.1, confidence=0.95)
    comparison = Comparison(
        point="batch 8", phase="confirm", verdict=Verdict.FASTER, speedup=interval, pairs=80, rounds=5, alpha=0.05, delta=0.02
    )
    said: dict[str, Any] = {}

    def stub(*arguments: object, **settings: object) -> Any:
        said.update(settings, arguments=arguments)
        return SimpleNamespace(comparisons={"batch 8": comparison}, quality=None)

    monkeypatch.setattr("strop.api.compare.compare", stub)
    answer = strop_cli("compare", tiny_workload, ORIGINAL, ENGINE, "--pairs", 9, "--seed", 4)
    assert answer.code == 0
    assert answer.out.splitlines() == ["batch 8: faster  ×2.00 [1.90, 2.10]", "quality: not judged"]
    assert (said["pairs"], said["seed"], said["rounds"], said["max_drop"]) == (9, 4, 5, "1%")
    assert said["arguments"] == (str(tiny_workload), ORIGINAL, ENGINE)


def test_the_guards_word_and_every_doubt_are_printed_once(
    tiny_workload: Path, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values alone do not say whether a loss was proven; an undecided comparison does not say why."""
    doubt = Finding(code="noisy-host", message="the machine was busy", advice="try again")
    undecided = replace(compared(0.3, Verdict.UNDECIDED, "confirm"), findings=(doubt,))
    worse = judge_agreement(300, 480, margin=0.01, metric="accuracy")
    found = Compared(first=Recipe(), second=Recipe(), comparisons={"batch 8": undecided, "all": undecided}, quality=worse)
    monkeypatch.setattr("strop.api.compare.compare", lambda *_, **__: found)
    answer = strop_cli("compare", tiny_workload, ORIGINAL, ENGINE)
    assert answer.code == 0
    assert "batch 8: undecided" in answer.out and "quality: worse quality: accuracy 1 → 0.375" in answer.out
    assert answer.out.count("doubt: the machine was busy; try again") == 1
