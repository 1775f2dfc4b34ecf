from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from strop.surgery.flow import answers, departure, watch
from strop.surgery.fold import fold, foldable
from strop.testing.models import ConvBnNet, SameConv2d


def settled(norm: nn.Module) -> nn.Module:
    """Give a norm statistics that matter."""
    for name, low, high in (("running_mean", -1, 1), ("running_var", 0.5, 2), ("weight", 0.5, 2), ("bias", -1, 1)):
        if getattr(norm, name, None) is not None:
            nn.init.uniform_(getattr(norm, name), low, high)
    return norm


def folded(model: nn.Module, x: torch.Tensor) -> int:
    """Fold, and check that the answer stays."""
    model.eval()
    before = answers(model, [x])
    count = fold(model, foldable(model, watch(model, [x])))
    assert departure(before, answers(model, [x])) < 1e-5
    return count


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_behind_a_convolution_disappears_into_it(dimensions: int, bias: bool, affine: bool) -> None:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1](4, 6, 3, padding=1, groups=2, bias=bias)
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1](6, affine=affine)
    model = nn.Sequential(conv, settled(norm))
    assert folded(model, torch.randn(2, 4, *[5] * dimensions)) == 1
    assert isinstance(model[1], nn.Identity) and model[0].bias is not None


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_that_pads_itself_like_tensorflow_is_folded(size: int, stride: int) -> None:
    model = nn.Sequential(SameConv2d(3, 8, 3, stride=stride, bias=False), settled(nn.BatchNorm2d(8, eps=1e-3)))
    assert folded(model, torch.randn(1, 3, size, size)) == 1
    assert type(model[0]) is SameConv2d


def test_the_tiny_network_folds_wholly() -> None:
    assert folded(ConvBnNet(), torch.randn(2, 3, 16, 16)) == 3


class Uses(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), settled(nn.BatchNorm2d(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.how == "also outside":
            return self.norm(y) + y
        if self.how == "norm twice":
            return self.norm(y) + self.norm(x)
        if self.how == "convolution twice":
            return self.norm(y) + self.conv(x * 2)
        return self.norm(functional.relu(y))


@pytest.mark.parametrize("how", ["also outside", "norm twice", "convolution twice", "something between"])
def test_a_pair_that_is_used_otherwise_too_is_left(how: str) -> None:
    assert folded(Uses(how), torch.randn(1, 3, 8, 8)) == 0


def test_a_norm_that_still_learns_or_keeps_no_statistics_is_left() -> None:
    learning = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    learning[1].train()
    learning[1].num_batches_tracked = None
    assert foldable(learning, watch(learning, [torch.randn(2, 3, 8, 8)])) == []
    assert folded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), torch.randn(2, 3, 8, 8)) == 0


def test_weights_that_others_use_too_are_left() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), settled(nn.BatchNorm2d(3)), nn.Conv2d(3, 3, 1))
    model[2].weight = model[0].weight
    assert folded(model, torch.randn(1, 3, 4, 4)) == 0


class SharesItsEncoder(nn.Module):
    """Keeps the encoder, and its first layers under a second name, by which it calls them, as U-Nets on a ResNet do."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), settled(nn.BatchNorm2d(4)), nn.ReLU())
        self.first = nn.Sequential(self.encoder[0], self.encoder[1], self.encoder[2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)  # type: ignore[no-any-return]


def test_a_norm_that_is_called_by_its_second_name_disappears_under_both() -> None:
    model = SharesItsEncoder()
    assert folded(model, torch.randn(1, 3, 8, 8)) == 1
    assert isinstance(model.encoder[1], nn.Identity) and model.first[1] is model.encoder[1]


class Standardised(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = (self.weight - self.weight.mean()) / self.weight.std()
        return functional.conv2d(x, weight, self.bias)


def test_a_convolution_that_computes_its_weights_is_left() -> None:
    assert folded(nn.Sequential(Standardised(3, 4, 3), settled(nn.BatchNorm2d(4))), torch.randn(1, 3, 8, 8)) == 0
    parametrised = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    assert folded(nn.Sequential(parametrised, settled(nn.BatchNorm2d(4))), torch.randn(1, 3, 8, 8)) == 0


def test_folding_touches_only_the_model_it_was_given() -> None:
    model = ConvBnNet().eval()
    kept = copy.deepcopy(model)
    fold(model, foldable(model, watch(model, [torch.randn(1, 3, 16, 16)])))
    assert all(torch.equal(a, b) for a, b in zip(kept.state_dict().values(), ConvBnNet.state_dict(kept).values(), strict=True))
    assert isinstance(kept.norm0, nn.BatchNorm2d)
