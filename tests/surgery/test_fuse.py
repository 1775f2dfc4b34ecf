from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.surgery.flow import answers, departure, watch
from strop.surgery.fuse import fuse_activations, pack, plan_activations
from strop.surgery.fused import FusedConv2d, FusedLinear
from strop.testing.models import SameConv2d


def fused(model: nn.Module, x: torch.Tensor, kind: type[nn.Module], threshold: int = 1) -> int:
    """Fuse, and check that the answer stays."""
    model.eval()
    before = answers(model, [x])
    flow = watch(model, [x])
    count = fuse_activations(model, flow, plan_activations(model, flow, kind, threshold))
    assert departure(before, answers(model, [x])) < 1e-5
    return count


ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Hardswish(),
    nn.LeakyReLU(0.2),
    nn.Hardtanh(-0.3, 0.4),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_every_known_activation_is_fused_into_linear_and_convolution(activation: nn.Module) -> None:
    linear = nn.Sequential(nn.Linear(8, 16), activation)
    assert fused(linear, torch.randn(3, 5, 8), nn.Linear) == 1 and isinstance(linear[0], FusedLinear)
    conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2, dilation=2), activation)
    assert fused(conv, torch.randn(2, 3, 9, 9), nn.Conv2d) == 1 and isinstance(conv[0], FusedConv2d)


@pytest.mark.parametrize("activation", [nn.ELU(), nn.Softmax(-1), nn.PReLU(), nn.Dropout()], ids=str)
def test_other_modules_are_left(activation: nn.Module) -> None:
    assert fused(nn.Sequential(nn.Linear(8, 16), activation), torch.randn(3, 8), nn.Linear) == 0


class Shared(nn.Module):
    """Two layers share an activation; ``spoil`` calls it a third time on something else."""

    def __init__(self, spoil: bool) -> None:
        super().__init__()
        self.a, self.b, self.act, self.spoil = nn.Linear(4, 4), nn.Linear(4, 4), nn.GELU(), spoil

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.a(x))
        x = self.act(self.b(x))
        return self.act(x + 1) if self.spoil else x


def test_a_shared_activation_goes_only_if_all_its_calls_go() -> None:
    assert fused(Shared(spoil=False), torch.randn(2, 4), nn.Linear) == 2
    assert fused(Shared(spoil=True), torch.randn(2, 4), nn.Linear) == 0


class TwoNames(nn.Module):
    """Calls its layers by their second names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.GELU())
        self.first = nn.Sequential(*self.encoder)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)  # type: ignore[no-any-return]


def test_layers_with_two_names_are_fused_under_both() -> None:
    model = TwoNames()
    assert fused(model, torch.randn(2, 4), nn.Linear) == 1
    assert isinstance(model.first[0], FusedLinear) and model.first[0] is model.encoder[0]


def test_small_answers_and_other_number_formats_are_left() -> None:
    assert fused(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 4), nn.Linear, threshold=9) == 0
    double = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).double()
    assert fused(double, torch.randn(2, 4, dtype=torch.float64), nn.Linear) == 0


@pytest.mark.parametrize("size", [14, 15])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (1, 1), (2, 1)])
def test_same_padding_is_understood_at_every_size(kernel: int, stride: int, size: int) -> None:
    model = nn.Sequential(SameConv2d(3, 8, kernel, stride=stride), nn.ReLU6()).eval()
    other = torch.randn(1, 3, size + 3, size)
    wanted = answers(model, [other])
    assert fused(model, torch.randn(1, 3, size, size), nn.Conv2d) == 1
    assert departure(wanted, answers(model, [other])) < 1e-5


class Reflects(nn.Conv2d):
    """Pads with something else than zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.pad(x, [1, 1, 1, 1], "reflect")
        return nn.functional.conv2d(x, self.weight, self.bias)


@pytest.mark.parametrize(
    "conv", [Reflects(3, 4, 3), nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")]
)
def test_other_paddings_are_left(conv: nn.Module) -> None:
    assert fused(nn.Sequential(conv, nn.ReLU()), torch.randn(1, 3, 8, 8), nn.Conv2d) == 0


def test_packing_keeps_names_weights_and_answers() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4, bias=False)).eval()
    names, x = list(model.state_dict()), torch.randn(3, 8)
    before = answers(model, [x])
    assert pack(model, watch(model, [x]), nn.Linear, 1) == 2
    assert list(model.state_dict()) == names
    assert departure(before, answers(model, [x])) < 1e-5


def test_loading_weights_after_the_first_call_takes_effect() -> None:
    for model, x in (
        (nn.Sequential(nn.Linear(8, 4)), torch.randn(2, 8)),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8)),
    ):
        model.eval()
        pack(model, watch(model, [x]), type(model[0]), 1)
        before = answers(model, [x])
        model.load_state_dict({name: tensor * 2 for name, tensor in model.state_dict().items()})
        assert departure([[t * 2 for t in row] for row in before], answers(model, [x])) < 1e-5
