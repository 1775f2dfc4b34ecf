"""``strop.train``: trained for real, resumed bit-equal, refused before any work, and told when it fails."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, load_model
from torch import nn

import strop
from strop.contract.recipe import Recipe
from strop.contract.workload import Split
from strop.errors import PrepareError, RecipeError, RunDirectoryError, TrainingError, UsageError, WorkloadError
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.measure.host import read_host
from strop.testing.models import TinyAttention, sentences_workload


def split_workload(**changes: Any) -> strop.TrainingWorkload:
    whole = sentences_workload().confirming
    assert whole.labels is not None
    parts = [Split(inputs=[whole.inputs[n]], labels=[whole.labels[n]]) for n in (0, 1)]
    return sentences_workload(screening=parts[0], confirming=parts[1], name="tiny", **changes)


def same(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def read(result: strop.TrainingResult) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((result.folder / "result.json").read_text(encoding="utf-8"))
    return facts


def test_it_trains_judges_and_leaves_weights_that_load(tmp_path: Path) -> None:
    workload = split_workload(epochs=20, model=TinyAttention)
    state = torch.get_rng_state()
    result = strop.train(workload, out=tmp_path / "run 运行")
    assert result.exit_code == 0 and result.weights is not None
    report = result.report
    assert report.status == "trained" and len(report.steps) == report.planned == 60
    assert report.loss < 0.1 < report.steps[0].loss
    assert report.before is not None and report.after is not None and list(report.screening) == list(range(1, 21))
    assert torch.equal(torch.get_rng_state(), state)
    model = workload.model()
    load_model(model, str(result.weights))
    assert workload.confirming.labels is not None
    right = workload.forward(model.eval(), workload.confirming.inputs[0]).argmax(-1) == workload.confirming.labels[0]
    assert float(right.float().mean()) == report.after
    assert report.machine == read_host().cpu
    facts = read(result)
    assert facts["after"] == report.after and facts["steps"] == 60 and facts["weights"] == "model.safetensors"
    assert "accuracy went from" in (result.folder / "report.html").read_text(encoding="utf-8")


class Interrupting:
    """A sink that interrupts after a step, as a person would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: strop.observe.Event) -> None:  # type: ignore[name-defined]
        if event.name == "train.step" and event.data["step"] == self.step:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_and_resumed_ends_with_the_very_same_weights(tmp_path: Path) -> None:
    whole = strop.train(split_workload(), out=tmp_path / "whole")
    first = strop.train(split_workload(), out=tmp_path / "cut", checkpoint_every="1", observer=Interrupting(2))
    assert first.exit_code == 130 and first.weights is None and first.report.status == "interrupted"
    assert 2 <= len(first.report.steps) < 6
    second = strop.train(split_workload(), out=tmp_path / "cut", checkpoint_every="1", resume=True)
    assert second.exit_code == 0 and whole.weights is not None and second.weights is not None
    assert same(whole.weights, second.weights)
    assert [row.loss for row in second.report.steps] == [row.loss for row in whole.report.steps]
    assert second.report.screening == whole.report.screening and second.report.before == whole.report.before


def test_a_run_that_is_complete_is_resumed_into_itself(tmp_path: Path) -> None:
    first = strop.train(split_workload(), out=tmp_path / "run")
    again = strop.train(split_workload(), out=tmp_path / "run", resume=True)
    assert again.exit_code == 0 and len(again.report.steps) == len(first.report.steps)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": sentences_workload().data[:16]}, "data: 24 samples.*then, 16 samples"),
        ({"model": lambda: Wider()}, "model: .* then, .* now"),
        ({"epochs": 3}, "steps: 6 then, 9 now"),
    ],
)
def test_a_checkpoint_of_another_model_or_other_data_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    strop.train(split_workload(), out=tmp_path / "run")
    with pytest.raises(TrainingError, match=words):
        strop.train(split_workload(**changes), out=tmp_path / "run", resume=True)


class Wider(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.more = sentences_workload().model(), nn.Linear(3, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.more(self.inner(input_ids, attention_mask)["logits"])}


def test_what_is_refused_before_any_work_leaves_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    engine = Recipe([ModelServingFramework(engine="onnxruntime")])
    refused: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (PrepareError, "declined: model_serving_framework: it acts when a trained model is lowered", {"recipe": engine}),
        (UsageError, "500 or 5m", {"checkpoint_every": "now and then"}),
        (RecipeError, "first line must be", {"recipe": "{}"}),
    ]
    for kind, words, settings in refused:
        with pytest.raises(kind, match=words):
            strop.train(split_workload(), out=out, **settings)
    for changes, words in [
        ({"loss": lambda outputs, batch: outputs}, "a floating-point scalar or one value per sample"),
        ({"model": lambda: 3}, r"gave a int; a torch\.nn\.Module"),
        ({"model": lambda: 1 / 0}, "failed: ZeroDivisionError"),
        ({"label": lambda row: 7}, "sample 0 has label 7"),
    ]:
        with pytest.raises(WorkloadError, match=words):
            strop.train(split_workload(**changes), out=out)
    assert not out.exists()


def test_an_inference_recipe_or_a_used_folder_is_refused(tmp_path: Path) -> None:
    strop.train(split_workload(), out=tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="already holds a run; continue it with --resume"):
        strop.train(split_workload(), out=tmp_path / "run")
    with pytest.raises(UsageError, match="was started with another seed"):
        strop.train(split_workload(), out=tmp_path / "run", resume=True, seed=1)


def test_a_process_too_many_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="2 processes were started, but the recipe trains on 1; add distributed_data_parallel"):
        strop.train(split_workload(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_that_fails_is_named_and_the_report_says_so(tmp_path: Path) -> None:
    def loss(outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if outputs.requires_grad and len(calls) == 3:
            raise ZeroDivisionError("planted")
        calls.append(1)
        return nn.functional.cross_entropy(outputs, batch["labels"])

    calls: list[int] = []
    with pytest.raises(TrainingError, match="step 3 failed: ZeroDivisionError: planted"):
        strop.train(split_workload(loss=loss), out=tmp_path / "run")
    assert "step 3 failed" in json.loads((tmp_path / "run" / "result.json").read_text())["reason"]
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_training_that_diverges_cannot_pass_for_one_that_did_not(tmp_path: Path) -> None:
    result = strop.train(split_workload(optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e30)), out=tmp_path / "run")
    assert result.exit_code == 1 and result.report.status == "diverged" and result.weights is None
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_full_disk_at_a_checkpoint_leaves_the_old_one_to_resume_from(tmp_path: Path) -> None:
    whole = strop.train(split_workload(), out=tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event: Any) -> None:
        if event.name == "train.step" and event.data["step"] == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))  # no file may grow further, as on a full disk

    try:
        with pytest.raises(TrainingError, match=r"step-00000003.* cannot be written"):
            strop.train(split_workload(), out=tmp_path / "run", checkpoint_every="1", observer=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())[-1] == "step-00000002.safetensors"
    resumed = strop.train(split_workload(), out=tmp_path / "run", resume=True)
    assert resumed.weights is not None and whole.weights is not None and same(resumed.weights, whole.weights)
