"""Low precision: what a host cannot run is declined, and what is counted is what really computes on bfloat16 values."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from strop.contract.draft import Precision
from strop.contract.tally import Tally
from strop.engines.precision import count_operators, decline_precision, first_call
from strop.measure.host import Host


def host(*flags: str) -> Host:
    return Host(cpu="ein test-prozessor", cores=2, isa=frozenset(flags))


def draft_with(tiny: SimpleNamespace, dtype: Literal["bfloat16", "float16"] | None) -> Any:
    precision = Precision(dtype=dtype, tally=Tally()) if dtype else None
    return tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], precision=precision)


@pytest.mark.parametrize("flags", [("avx512_bf16",), ("amx_bf16",), ("avx2", "avx512_bf16", "amx_bf16")])
def test_bfloat16_is_taken_where_the_host_has_units_for_it(flags: tuple[str, ...], tiny: SimpleNamespace) -> None:
    assert decline_precision(draft_with(tiny, "bfloat16"), host(*flags)) is None


@pytest.mark.parametrize("flags", [(), ("avx2", "avx512f", "avx512_vnni"), ("avx512_fp16", "amx_int8")])
def test_bfloat16_that_would_be_emulated_is_declined_by_the_hosts_name(flags: tuple[str, ...], tiny: SimpleNamespace) -> None:
    reason = str(decline_precision(draft_with(tiny, "bfloat16"), host(*flags)))
    assert "ein test-prozessor has neither avx512_bf16 nor amx_bf16" in reason and "emulated" in reason


def test_other_formats_are_declined_on_every_host(tiny: SimpleNamespace) -> None:
    reason = str(decline_precision(draft_with(tiny, "float16"), host("avx512_fp16", "avx512_bf16", "amx_bf16")))
    assert "float32 and bfloat16, not float16" in reason


def test_full_precision_is_never_declined(tiny: SimpleNamespace) -> None:
    assert decline_precision(draft_with(tiny, None), host()) is None


class Recurrent(nn.Module):
    """An LSTM and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)[0]
        return out


class Attention(nn.Module):
    """Attention without weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


class Product(nn.Module):
    """Products without layers, written in two ways."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, x.T) + torch.einsum("bi,ci->bc", x, x)


class InFloat(nn.Module):
    """A product that switches autocast off for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            out: torch.Tensor = self.layer(x)
        return out


X = torch.randn(2, 16)


@pytest.mark.parametrize(
    ("model", "example", "count"),
    [
        (nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)), X, 2),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)), torch.randn(1, 3, 6, 6), 2),
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 3, 3)), torch.randn(1, 3, 6), 2),
        (Product(), X, 2),
        (nn.MultiheadAttention(8, 2, batch_first=True), (torch.randn(2, 5, 8),) * 3, None),
        (Attention(), torch.randn(1, 2, 5, 8), 1),
        (Recurrent(), torch.randn(2, 5, 8), 1),
        (nn.Sequential(nn.LayerNorm(16), nn.Softmax(-1)), X, 0),
        (nn.Embedding(9, 4), torch.tensor([[1, 2]]), 0),
        (nn.Flatten(), torch.randint(0, 9, (2, 3)), 0),
        (InFloat(), X, 0),
    ],
    ids=[
        "linear",
        "convolution",
        "only convolutions",
        "products",
        "layer of attention",
        "attention",
        "lstm",
        "norms",
        "embedding",
        "integers",
        "switched off",
    ],
)
def test_products_that_compute_in_bfloat16_are_counted_and_nothing_else(
    model: nn.Module, example: Any, count: int | None, tiny: SimpleNamespace
) -> None:
    found = count_operators(tiny.draft(model, [example]), "bfloat16")
    assert found > 0 if count is None else found == count


def test_counting_changes_neither_the_model_nor_the_process(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [X])
    before = {name: value.clone() for name, value in draft.model.state_dict().items()}
    assert count_operators(draft, "bfloat16") == count_operators(draft, "bfloat16") == 2
    assert all(torch.equal(value, before[name]) for name, value in draft.model.state_dict().items())
    assert {value.dtype for value in draft.model.state_dict().values()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()


def test_a_model_that_fails_while_it_is_counted_leaves_the_process_as_it_was(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [X])

    def fail(*_: Any) -> None:
        raise RuntimeError("planted")

    draft.model.second.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="planted"):
        count_operators(draft, "bfloat16")
    assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert (X @ X.T).dtype == torch.float32


@pytest.mark.parametrize("as_numpy", [False, True])
def test_the_first_example_is_called_with_tensors(as_numpy: bool, tiny: SimpleNamespace) -> None:
    def leaf(tensor: torch.Tensor) -> Any:
        return tensor.numpy() if as_numpy else tensor

    draft = tiny.draft(tiny.Mlp(), [X])
    draft.examples = [(leaf(X), {"mask": leaf(torch.ones(2)), "flag": True}), (leaf(X + 1), None)]
    args, kwargs = first_call(draft)
    assert kwargs == {} and torch.equal(args[0], X)
    assert isinstance(args[1]["mask"], torch.Tensor) and args[1]["flag"] is True
    draft.examples = [{"x": leaf(X), "n": 3}]
    args, kwargs = first_call(draft)
    assert args == () and torch.equal(kwargs["x"], X) and kwargs["n"] == 3


def test_read_only_arrays_are_taken_without_a_warning(tiny: SimpleNamespace, recwarn: pytest.WarningsRecorder) -> None:
    array = np.ones((2, 16), np.float32)
    array.flags.writeable = False
    draft = tiny.draft(tiny.Mlp(), [X])
    draft.examples = [array]
    assert count_operators(draft, "bfloat16") == 2
    assert not [w for w in recwarn if "writable" in str(w.message)]


@pytest.mark.parametrize(
    ("dtype", "capability", "declined"),
    [("bfloat16", (8, 0), False), ("bfloat16", (7, 5), True), ("float16", (7, 5), False), ("bfloat16", (9, 0), False)],
)
def test_an_accelerator_is_asked_about_itself_and_not_the_processor(
    dtype: Literal["bfloat16", "float16"],
    capability: tuple[int, int],
    declined: bool,
    tiny: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a card at {device}")
    draft = draft_with(tiny, dtype)
    draft.workload = replace(draft.workload, device="cuda:1")
    told = decline_precision(draft, host())
    assert (told is not None) == declined and (not declined or "a card at cuda:1 multiplies no bfloat16" in str(told))
