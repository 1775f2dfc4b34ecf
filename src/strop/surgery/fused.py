"""Layers that compute product, bias and activation in one oneDNN call on prepacked weights. CPU, float32, inference only.

The weights stay ordinary parameters under their former names, so that saving, loading and counting work as before; the
packed copy is made at the first call and never saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from strop.surgery.flow import ModuleCall, Seen


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation as oneDNN names it.

    Attributes:
        name: ``"none"``, ``"relu"``, ``"gelu"``, ``"swish"`` …
        scalars: its parameters.
        algorithm: variant, for ``gelu`` ``"none"`` or ``"tanh"``.
    """

    name: str = "none"
    scalars: tuple[float, ...] = ()
    algorithm: str = ""


NO_ACTIVATION = Activation()

_PLAIN = {"relu": "relu", "relu_": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "silu": "swish", "hardswish": "hardswish"}


def available() -> bool:
    """Tell whether this build of torch offers the fused operators."""
    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name)
        for name in ("_linear_pointwise", "_convolution_pointwise", "_reorder_linear_weight", "_reorder_convolution_weight")
    )


def activation_of(call: ModuleCall) -> Activation | None:
    """Return the activation that a module's call computed, if it was exactly one that oneDNN can append."""
    if len(call.functions) != 1:
        return None
    seen = call.functions[0]
    if seen.name in _PLAIN:
        return Activation(_PLAIN[seen.name])
    if seen.name == "relu6":
        return Activation("hardtanh", (0.0, 6.0))
    if seen.name in ("hardtanh", "hardtanh_"):
        return Activation("hardtanh", (_option(seen, 0, "min_val", -1.0), _option(seen, 1, "max_val", 1.0)))
    if seen.name == "leaky_relu":
        return Activation("leaky_relu", (_option(seen, 0, "negative_slope", 0.01),))
    if seen.name == "gelu":
        return Activation("gelu", algorithm=_option(seen, 0, "approximate", "none"))
    return None


class FusedLinear(nn.Module):
    """``activation(x Wᵀ + b)`` in one call. Input ``(…, in)``, answer ``(…, out)``, float32."""

    def __init__(self, linear: nn.Linear, activation: Activation) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features  # which the model's forward may read
        self.activation = activation
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Answer; the first call packs the weights for its number of rows."""
        if self._packed is None:
            rows = x.numel() // x.shape[-1]
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), rows)
        a = self.activation
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, a.name, a.scalars, a.algorithm)
        return answer

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """Show shape and activation."""
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}, {self.activation.name}"


class FusedConv2d(nn.Module):
    """``activation(conv2d(x, W, b))`` in one call. Input ``(N, C, H, W)`` float32.

    Args:
        convolution: where weights and geometry come from.
        activation: what is appended.
        same: pad as TensorFlow does so that the answer has ``ceil(size / stride)`` rows and columns; symmetric padding
            is then left to the operator instead of copying the input.
    """

    def __init__(self, convolution: nn.Conv2d, activation: Activation, same: bool) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.in_channels, self.out_channels = convolution.in_channels, convolution.out_channels  # read by models' forwards
        self.kernel_size, self.padding_mode = convolution.kernel_size, convolution.padding_mode
        self.stride, self.dilation = convolution.stride, convolution.dilation
        self.groups, self.same, self.activation = convolution.groups, same, activation
        self.padding = (0, 0) if same else tuple(int(p) for p in convolution.padding)
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Answer; the first call packs the weights for its input's size."""
        padding = self.padding
        if self.same:
            (top, bottom), (left, right) = same_padding(x.shape[-2:], self.weight.shape[-2:], self.stride, self.dilation)
            if top == bottom and left == right:
                padding = (top, left)
            else:
                x = functional.pad(x, [left, right, top, bottom])
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight.detach(), padding, self.stride, self.dilation, self.groups, list(x.shape)
            )
        a = self.activation
        answer: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self.bias, padding, self.stride, self.dilation, self.groups, a.name, a.scalars, a.algorithm
        )
        return answer

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """Show shape and activation."""
        return f"{tuple(self.weight.shape)}, {'SAME, ' if self.same else ''}{self.activation.name}"


def same_padding(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (before, after) per dimension as TensorFlow's "SAME" pads: the odd element goes behind."""
    found = []
    for length, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-length // s) - 1) * s + (k - 1) * d + 1 - length, 0)
        found.append((total // 2, total - total // 2))
    return found


def _option(seen: Seen, position: int, name: str, default: Any) -> Any:
    return seen.options.get(name, seen.constants[position] if len(seen.constants) > position else default)
