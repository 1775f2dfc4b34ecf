"""Fold batch norms into the convolutions before them.

Exact up to rounding: with running mean μ and variance σ², ``γ (W x + b − μ) / √(σ² + ε) + β`` is again a convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from strop.surgery.flow import Flow, ModuleCall
from strop.surgery.modules import replace

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


def foldable(model: nn.Module, flow: Flow) -> list[tuple[str, str]]:
    """List ``(convolution, batch norm)`` pairs where the norm takes the convolution's answer and nobody else does.

    A convolution may pad its input itself before it convolves, as models ported from TensorFlow do ("SAME" padding); one
    that computes its weights (weight standardisation, parametrisation) is left out, and so is a module used by others.
    """
    pairs = []
    shared = _shared_parameters(model)
    for name, calls in flow.items():
        convolution = model.get_submodule(name)
        if not isinstance(convolution, nn.Conv1d | nn.Conv2d | nn.Conv3d) or not all(map(convolves, calls)):
            continue
        target = only_user(calls)
        norm = model.get_submodule(target) if target else None
        if not isinstance(norm, _BatchNorm) or norm.training or norm.running_mean is None:
            continue
        plain = "weight" in convolution._parameters and not shared & {id(p) for p in convolution.parameters()}
        if plain and target and all(c.steps == ("batch_norm",) and _name(c.source) == name for c in flow[target]):
            pairs.append((name, target))
    return pairs


def fold(model: nn.Module, pairs: list[tuple[str, str]]) -> int:
    """Fold each pair in place; the norm becomes an ``Identity``. Return the number of pairs."""
    for convolution_name, norm_name in pairs:
        convolution: Any = model.get_submodule(convolution_name)
        norm: Any = model.get_submodule(norm_name)
        with torch.no_grad():
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
        replace(model, norm_name, nn.Identity())
    return len(pairs)


def convolves(call: ModuleCall) -> bool:
    """Tell whether a call did nothing but convolve, after padding its input if need be."""
    return call.steps in {(name,) for name in CONVOLUTIONS} | {("pad", name) for name in CONVOLUTIONS}


def only_user(calls: list[ModuleCall]) -> str | None:
    """Return the one module that took the answer of every call, each time alone, or ``None``."""
    users = {_name(call.users[0]) if len(call.users) == 1 else None for call in calls}
    return users.pop() if len(users) == 1 else None


def _name(call: ModuleCall | None) -> str | None:
    return call.name if call is not None else None


def _shared_parameters(model: nn.Module) -> set[int]:
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return {key for key, count in owners.items() if count > 1}
