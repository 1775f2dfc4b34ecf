"""The documented calls, exactly as documented, in a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import strop
from strop.compat import MemoryCompressor, NumericStabilityMonitor, distributed
from strop.contract.instruction import Instruction
from strop.contract.recipe import Recipe
from strop.errors import TrainingError, UsageError
from strop.instructions.training import i16_memory_compression

THRESHOLDS = {"nan_ratio": 1e-5, "inf_ratio": 1e-6, "gradient_variance": 0.1}
ALGORITHMS = [{"name": "fp16_lossy", "scope": "activations"}, {"name": "bitpacking", "scope": "gradients", "bits": 4}]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.layer_norm, self.attention_score = nn.Linear(4, 1024), nn.LayerNorm(1024), nn.Linear(1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention_score(self.layer_norm(self.up(x)).tanh())  # type: ignore[no-any-return]


def steps(
    instruction: Instruction,
    spoil: Callable[[int, Tensor], Tensor] = lambda step, x: x,
    weight: Callable[[int], float] = lambda step: 0.01,
) -> nn.Module:
    """Train for six steps in a loop of one's own."""
    torch.manual_seed(0)
    model, batches = Net(), [torch.randn(16, 4) for _ in range(6)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with strop.inline(model, optimizer, recipe=Recipe([instruction]), steps=6) as s:
        for step, x in enumerate(s.batches(batches), 1):
            with s.step():
                s.backward(weight(step) * model(spoil(step, x)).square().mean())
    return model


def nan_at_3(step: int, x: Tensor) -> Tensor:
    return x * float("nan") if step == 3 else x


def test_the_monitor_rolls_back_as_documented() -> None:
    monitor = NumericStabilityMonitor(checkpoints=["layer_norm", "attention_score"], thresholds=THRESHOLDS, action="rollback")
    model = steps(monitor, nan_at_3)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert (monitor.nan_ratio, monitor.inf_ratio, monitor.gradient_variance) == (1e-5, 1e-6, 0.1)


def test_the_monitor_halts_as_documented_naming_step_and_module() -> None:
    monitor = NumericStabilityMonitor(checkpoints=["layer_norm", "attention_score"], thresholds=THRESHOLDS, action="halt")
    with pytest.raises(TrainingError, match=r"step 3: layer_norm answered with 100 % NaN"):
        steps(monitor, nan_at_3)


def test_the_documented_variance_is_an_absolute_limit() -> None:
    with pytest.raises(TrainingError, match=r"step 4: the gradient of .* has variance .*, more than 0\.1"):
        steps(NumericStabilityMonitor(thresholds=THRESHOLDS, action="halt"), weight=lambda step: 100.0 if step == 4 else 0.01)


@pytest.mark.parametrize("used", [0.80, 0.90])
def test_the_compressor_packs_above_its_threshold_as_documented(used: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i16_memory_compression, "_used", lambda device: used)
    plain, packed = steps(NumericStabilityMonitor()), steps(MemoryCompressor(algorithms=ALGORITHMS, threshold=0.85))
    same = [torch.equal(a, b) for a, b in zip(plain.parameters(), packed.parameters(), strict=True)]
    assert all(same) == (used < 0.85)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(plain.parameters(), packed.parameters(), strict=True))


def test_gradients_are_compressed_where_there_are_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MemoryCompressor(algorithms=ALGORITHMS).gradient_bits is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = MemoryCompressor(algorithms=ALGORITHMS)
    assert (made.activations, made.gradient_bits, made.threshold) == ("float16", 4, 0.85)


def test_the_section_of_a_configuration_file_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    section: dict[str, Any] = {"backend": "nccl", "init_method": "env://", "gpu_ids": [0, 1], "find_unused_parameters": False}
    with pytest.raises(UsageError, match=r"2 gpu_ids are given, and 1 processes were started.*--nproc_per_node=2"):
        distributed(**section)
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = distributed(**section, gradient_predivide_factor=2.0)
    assert (made.backend, made.init_method, made.find_unused_parameters) == ("nccl", "env://", False)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NumericStabilityMonitor(thresholds={"nan_rate": 0.1}), "Did you mean 'nan_ratio'"),
        (lambda: NumericStabilityMonitor(thresholds={"nan_ratio": 2.0}), "nan_ratio is a share"),
        (lambda: NumericStabilityMonitor(action="stop"), "must be 'rollback' or 'halt', got 'stop'"),  # type: ignore[arg-type]
        (lambda: MemoryCompressor([{"name": "zip", "scope": "activations"}]), "'zip'.* is no algorithm known here"),
        (lambda: MemoryCompressor([{"name": "fp16_lossy", "scope": "gradients"}]), "bits=4 or 8 for scope 'gradients'"),
        (lambda: MemoryCompressor([{"name": "bitpacking", "scope": "gradients", "bits": 3}]), "bits=4 or 8"),
        (lambda: MemoryCompressor([ALGORITHMS[0], ALGORITHMS[0]]), "two algorithms have the scope 'activations'"),
        (lambda: MemoryCompressor(ALGORITHMS, threshold=1.5), "threshold is a share"),
        (lambda: distributed(gradient_predivide_factor=0.0), "must be positive, got 0"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_in_words(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()
