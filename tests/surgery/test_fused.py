from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.surgery.flow import ModuleCall, Seen
from strop.surgery.fused import NO_ACTIVATION, Activation, FusedConv2d, FusedLinear, activation_of, available, same_padding


def test_this_build_offers_the_operators() -> None:
    assert available()


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (Seen("relu", (), {"inplace": False}), Activation("relu")),
        (Seen("relu6", (), {}), Activation("hardtanh", (0.0, 6.0))),
        (Seen("gelu", (), {"approximate": "tanh"}), Activation("gelu", algorithm="tanh")),
        (Seen("gelu", (), {}), Activation("gelu", algorithm="none")),
        (Seen("leaky_relu", (0.3,), {}), Activation("leaky_relu", (0.3,))),
        (Seen("hardtanh", (), {"min_val": -2.0, "max_val": 2.0}), Activation("hardtanh", (-2.0, 2.0))),
        (Seen("softmax", (), {}), None),
    ],
)
def test_an_activation_is_known_by_what_it_computes(seen: Seen, wanted: Activation | None) -> None:
    assert activation_of(ModuleCall("act", functions=[seen])) == wanted


def test_two_functions_are_no_activation() -> None:
    assert activation_of(ModuleCall("act", functions=[Seen("relu", (), {}), Seen("add", (), {})])) is None


@pytest.mark.parametrize(("length", "kernel", "stride"), [(7, 3, 1), (8, 3, 2), (7, 3, 2), (9, 5, 3), (4, 1, 2)])
def test_same_padding_gives_ceil_of_size_over_stride(length: int, kernel: int, stride: int) -> None:
    ((before, after),) = same_padding((length,), (kernel,), [stride], [1])
    assert 0 <= after - before <= 1
    assert (length + before + after - kernel) // stride + 1 == -(-length // stride)


def test_layers_answer_for_other_sizes_than_they_were_packed_for() -> None:
    linear, conv = nn.Linear(8, 4), nn.Conv2d(3, 4, 3, padding=1)
    fast, fast_conv = FusedLinear(linear, NO_ACTIVATION), FusedConv2d(conv, Activation("relu"), same=False)
    with torch.inference_mode():
        for rows, size in ((4, 8), (1, 5), (64, 17)):
            x, image = torch.randn(rows, 8), torch.randn(rows, 3, size, size)
            assert torch.allclose(fast(x), linear(x), atol=1e-5)
            assert torch.allclose(fast_conv(image), conv(image).relu(), atol=1e-5)


def test_channels_last_images_are_taken() -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 9, 9).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.allclose(FusedConv2d(conv, NO_ACTIVATION, same=False)(x), conv(x), atol=1e-5)


def test_what_a_forward_may_read_of_a_layer_is_there_as_before() -> None:
    linear, conv = nn.Linear(8, 4), nn.Conv2d(3, 6, (3, 5), stride=2, padding=1, groups=3)
    fast, fast_conv = FusedLinear(linear, NO_ACTIVATION), FusedConv2d(conv, NO_ACTIVATION, same=False)
    for name in ("in_features", "out_features"):
        assert getattr(fast, name) == getattr(linear, name)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(fast_conv, name) == getattr(conv, name)


def test_their_names_say_what_they_compute() -> None:
    assert "gelu" in repr(FusedLinear(nn.Linear(8, 4), Activation("gelu")))
    assert "SAME" in repr(FusedConv2d(nn.Conv2d(3, 4, 3), NO_ACTIVATION, same=True))
