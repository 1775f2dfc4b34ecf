"""Replace layers and the activation behind them by fused layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from strop.surgery.flow import Flow, ModuleCall
from strop.surgery.fold import convolves, only_user
from strop.surgery.fused import (
    NO_ACTIVATION,
    Activation,
    FusedConv2d,
    FusedLinear,
    activation_of,
    same_padding,
)
from strop.surgery.modules import replace

Plan = dict[str, tuple[str, Activation]]
"""Layer → the activation module behind it, and what that computes."""


def plan_activations(model: nn.Module, flow: Flow, kind: type[nn.Module], threshold: int) -> Plan:
    """Find layers of ``kind`` whose answer goes to an activation module and nowhere else.

    An activation module that several layers share is taken only if every one of its calls can be taken, because it
    turns into an ``Identity``.

    Args:
        model: the model.
        flow: what :func:`~strop.surgery.flow.watch` saw of it.
        kind: class of the layers.
        threshold: smallest answer worth fusing, in elements.
    """
    plan: Plan = {}
    for name, calls in flow.items():
        target = only_user(calls)
        if target is None or not isinstance(model.get_submodule(name), kind) or not _eligible(model, name, calls, threshold):
            continue
        activations = {activation_of(call) for call in flow[target]}
        activation = activations.pop() if len(activations) == 1 else None
        if activation is not None and not list(model.get_submodule(target).parameters()):
            plan[name] = (target, activation)
    sources = {target: {c.source.name if c.source else "" for c in flow[target]} for target, _ in plan.values()}
    return {name: (target, activation) for name, (target, activation) in plan.items() if sources[target] <= plan.keys()}


def fuse_activations(model: nn.Module, flow: Flow, plan: Plan) -> int:
    """Carry out a plan in place; return the number of fused layers."""
    for name, (_, activation) in plan.items():
        replace(model, name, _fused(model.get_submodule(name), activation, flow[name]))
    for target in {target for target, _ in plan.values()}:
        replace(model, target, nn.Identity())
    return len(plan)


def pack(model: nn.Module, flow: Flow, kind: type[nn.Module], threshold: int) -> int:
    """Let every remaining layer of ``kind`` compute product and bias in one oneDNN call; return how many."""
    count = 0
    for name, calls in flow.items():
        module = model.get_submodule(name)
        if isinstance(module, kind) and _eligible(model, name, calls, threshold):
            replace(model, name, _fused(module, NO_ACTIVATION, calls))
            count += 1
    return count


def _eligible(model: nn.Module, name: str, calls: list[ModuleCall], threshold: int) -> bool:
    module: Any = model.get_submodule(name)
    if max(call.numel for call in calls) < threshold or "weight" not in module._parameters:
        return False
    if module.weight.dtype != torch.float32 or module.weight.device.type != "cpu":
        return False
    if isinstance(module, nn.Linear):
        return all(call.steps == ("linear",) for call in calls)
    return isinstance(module, nn.Conv2d) and _padding(module, calls) is not None


def _padding(module: nn.Conv2d, calls: list[ModuleCall]) -> str | None:
    """Say how every call padded: ``"own"`` by the operator, ``"same"`` as TensorFlow does, ``None`` another way."""
    if isinstance(module.padding, str):
        return None
    if all(call.steps == ("conv2d",) for call in calls):
        return "own"
    kernel, stride, dilation = tuple(module.weight.shape[-2:]), list(module.stride), list(module.dilation)
    for call in calls:
        (top, bottom), (left, right) = same_padding(call.shape[-2:], kernel, stride, dilation)
        if any(module.padding) or not convolves(call) or _padded(call) != [left, right, top, bottom]:
            return None
    return "same"


def _padded(call: ModuleCall) -> list[int] | None:
    """Return the zeros put around the input before convolving, ``None`` if it was filled with anything else."""
    if len(call.functions) == 1:
        return [0, 0, 0, 0]
    given = dict(zip(("pad", "mode", "value"), call.functions[0].constants, strict=False)) | call.functions[0].options
    zeros = given.get("mode", "constant") == "constant" and not given.get("value")
    return list(given["pad"]) if zeros else None


def _fused(module: nn.Module, activation: Activation, calls: list[ModuleCall]) -> nn.Module:
    if isinstance(module, nn.Linear):
        return FusedLinear(module, activation)
    assert isinstance(module, nn.Conv2d)  # narrowed by _eligible; tells the type checker
    return FusedConv2d(module, activation, same=_padding(module, calls) == "same")
