"""The preparing process, seen from inside: an outcome is written, whatever the recipe does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strop.contract.recipe import Recipe
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.ledger.files import write_json
from strop.pipeline import Outcome, Preparation
from strop.trial.prepare import run_task
from strop.trial.task import Task

FAULTS = """
class Faulty(Mlp):
    def forward(self, x):
        if wrong:
            {fault}
        return super().forward(x)

wrong = False
sound = workload
def workload():
    from dataclasses import replace
    return replace(sound(), model=Faulty)
"""


def task_for(place: Any, recipe: Recipe, text: str) -> Task:
    """A task whose data were written while the model was still sound."""
    reference = place.refer(text)
    _, _, materials = place.opened(reference)
    reference = place.refer(text.replace("wrong = False", "wrong = True"))
    folder = place.folder / "缓存 cache" / ".entry"
    return Task(
        reference=reference,
        materials=materials.folder,
        recipe=recipe.to_json(),
        folder=folder,
        seed=0,
        graphs=place.folder / "graphs",
        origin={},
    )


def test_a_recipe_leaves_an_artefact_and_what_it_changed(place: Any, kit: SimpleNamespace) -> None:
    task = task_for(place, Recipe([kit.fuse()]), kit.MLP)
    done = run_task(task)
    assert done == Preparation(outcome=Outcome.PREPARED, tallies={"kernel_fusion": {"linear+activation": 1}})
    assert {path.name for path in (task.folder / "artefact").iterdir()} == {"weights.safetensors", "engine.json"}


@pytest.mark.parametrize(
    ("recipe", "outcome", "reason"),
    [
        (Recipe([StaticQuantization()]), Outcome.DECLINED, "the eager engine runs no int8"),
        (Recipe([MemoryLayout()]), Outcome.DECLINED, "memory_layout: the model has no two-dimensional convolution"),
        ("too large", Outcome.NO_EFFECT, "kernel_fusion changed nothing in this model"),
    ],
)
def test_what_does_not_suit_is_an_outcome_with_a_reason(
    recipe: Any, outcome: Outcome, reason: str, place: Any, kit: SimpleNamespace
) -> None:
    done = run_task(task_for(place, Recipe([kit.fuse(10**9)]) if recipe == "too large" else recipe, kit.MLP))
    assert done.outcome is outcome
    assert reason in done.reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise MemoryError", "memory exhausted while preparing"),
        ("raise KeyError('layer 3')", "KeyError: 'layer 3'"),
        (r"raise RuntimeError('\n\n  the first words\nmore')", "RuntimeError:   the first words"),
        ("raise RuntimeError('x' * 1000)", f"RuntimeError: {'x' * 300}"),
        ("raise ZeroDivisionError", "ZeroDivisionError: no message"),
    ],
)
def test_whatever_the_model_raises_is_a_reason_in_one_line(
    fault: str, reason: str, place: Any, kit: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_task(task_for(place, Recipe([kit.fuse()]), kit.MLP + FAULTS.format(fault=fault)))
    assert (done.outcome, done.reason) == (Outcome.FAILED, reason)
    if "MemoryError" not in fault:
        assert "in forward" in capsys.readouterr().err, "the traceback belongs into the process's log"


def test_model_that_can_no_longer_be_built_is_told(place: Any, kit: SimpleNamespace) -> None:
    text = (
        kit.MLP.replace("model=Mlp", "model=build")
        + "\ndef build():\n    if wrong: return None\n    return Mlp()\nwrong = False\n"
    )
    done = run_task(task_for(place, Recipe([kit.fuse()]), text))
    assert done.outcome is Outcome.FAILED
    assert done.reason == "WorkloadError: model() of the workload gave a NoneType; a torch.nn.Module was expected."


def test_the_process_reads_its_task_and_writes_its_outcome(place: Any, kit: SimpleNamespace) -> None:
    task = task_for(place, Recipe([kit.fuse()]), kit.MLP + FAULTS.format(fault="raise OSError('planted')"))
    write_json(task.folder / "task.json", task.to_json())
    command = [sys.executable, "-m", "strop.trial.prepare", str(task.folder / "task.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    written = json.loads(Path(task.folder / "prepared.json").read_text(encoding="utf-8"))
    assert (written["outcome"], written["reason"]) == ("failed to prepare", "OSError: planted")
    assert "Traceback" in done.stderr
