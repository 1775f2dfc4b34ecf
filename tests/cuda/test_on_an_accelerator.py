"""What only an accelerator can show. Run by hand where there is one: ``python -m pytest -m cuda``."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import strop
from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import UsageError
from strop.instructions.inference.i31_kernel_fusion import KernelFusion
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.loop.loop import TrainingLoop
from strop.loop.ranks import device
from strop.measure.host import read_host
from strop.measure.memory import tensor_peak
from strop.pipeline import Outcome, Preparation, train
from strop.testing.models import sentences_workload, training_draft
from strop.trial.steps import POINT, StepsTarget, by_size

pytestmark = pytest.mark.cuda

NAP = 400_000_000
"""Cycles that a planted kernel waits: some 0.2 s at 2 GHz, and more at a lower clock."""


def test_it_trains_on_the_accelerator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert device() == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(UsageError, match="has no accelerator of its own"):
        device()


def test_a_planted_tensor_is_counted_to_the_byte() -> None:
    kept: list[Tensor] = []

    def call() -> None:
        kept.append(torch.empty(3 * 2**20, dtype=torch.float32, device="cuda:0"))
        torch.empty(5 * 2**20, dtype=torch.uint8, device="cuda:0")

    assert tensor_peak(call, "cuda:0") == 12 * 2**20 + 5 * 2**20


def test_steps_are_timed_until_the_accelerator_is_done() -> None:
    def slow(model: nn.Module, batch: Any) -> Any:
        torch.cuda._sleep(NAP)
        return forward(model, batch)

    draft = training_draft()
    assert draft.training is not None
    forward = draft.training.forward
    target = steps(draft)
    target.run(POINT, 0)
    begun = time.perf_counter()
    target.run(POINT, 1)
    plain = time.perf_counter() - begun
    draft.training.forward = slow
    begun = time.perf_counter()
    target.run(POINT, 2)
    assert time.perf_counter() - begun > plain + 4 * 0.1  # four steps of a sweep, each at least half a nap
    target.close()


def test_a_training_of_two_halves_ends_where_a_whole_one_does(tmp_path: Path) -> None:
    whole = strop.train(sentences_workload(), out=tmp_path / "whole")
    assert whole.report.machine == torch.cuda.get_device_name(0)
    again = strop.train(sentences_workload(), out=tmp_path / "again")
    assert [row.loss for row in again.report.steps] == [row.loss for row in whole.report.steps]


def test_products_are_cast_and_counted() -> None:
    draft = training_draft()
    done = train(draft, Recipe([AmpOptimizer()]), read_host(accelerators=True), device=device())
    assert done.outcome is Outcome.PREPARED and sum(done.tallies["amp_optimizer"].values()) > 0


def test_a_loss_scale_of_half_precision_is_the_accelerator_s() -> None:
    draft = training_draft()
    done = train(draft, Recipe([AmpOptimizer(dtype="float16")]), read_host(accelerators=True), device=device())
    assert done.outcome is Outcome.PREPARED


def test_rules_for_processors_change_nothing_and_say_so() -> None:
    draft = training_draft()
    done = train(draft, Recipe([KernelFusion(rules=("dropout", "attention"))]), read_host(accelerators=True), device=device())
    assert done.outcome is Outcome.NO_EFFECT


def test_gloo_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = DistributedDataParallel(backend="gloo").decline(training_draft(), read_host(accelerators=True))
    assert told is not None and "use nccl" in told


def test_a_training_is_compiled_for_it() -> None:
    draft = training_draft()
    done = train(draft, Recipe([GraphCompile()]), read_host(accelerators=True), device=device())
    assert done.outcome is Outcome.PREPARED and done.tallies["graph_compile"] == {"graphs compiled": 1}


def steps(draft: Draft) -> StepsTarget:
    """Open the target of a draft, as the process of an arm does."""
    workload, training = draft.workload, draft.training
    assert isinstance(workload, TrainingWorkload) and training is not None
    stack = contextlib.ExitStack()
    loop = stack.enter_context(TrainingLoop(draft.model, training, seed=0, device=device()))
    return StepsTarget(loop, workload, by_size(training, workload), lambda: Preparation(outcome=Outcome.PREPARED), stack)
