"""Optimizers whose update is one kernel per parameter group, and clipping, which such a kernel does on its way."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

FUSED: tuple[type[Optimizer], ...] = (Adam, AdamW, SGD)
"""Those that torch has fused kernels for; subclasses may do something else in their step."""


def fused(optimizer: Optimizer) -> Optimizer | None:
    """Return the same optimizer, not yet stepped, with a fused update; ``None`` where there is none or it is fused already.

    Group by group the settings are taken over: rates, betas, weight decay. The update differs by rounding.
    """
    settings: dict[str, Any] = dict(optimizer.defaults)
    groups: list[dict[str, Any]] = optimizer.param_groups
    real = all(parameter.is_floating_point() for group in groups for parameter in group["params"])
    plain = type(optimizer) in FUSED and real and not any(group.get("differentiable") for group in groups)
    if not plain or optimizer.state_dict()["state"] or all(group.get("fused") for group in groups):
        return None
    known = inspect.signature(type(optimizer).__init__).parameters
    changed = {"fused": True, "foreach": None}
    taken = {name: value for name, value in {**settings, **changed}.items() if name in known}
    return type(optimizer)([{**group, **changed} for group in groups], **taken)


def sparse_gradients(model: nn.Module) -> bool:
    """Tell whether a module of the model gives its weight a sparse gradient, which no fused kernel takes."""
    return any(getattr(module, "sparse", False) is True for module in model.modules())


def clip(model: nn.Module, optimizer: Optimizer, norm: Tensor, largest: float, *, at_once: bool = False) -> None:
    """Let gradients whose norm exceeds ``largest`` have that norm, at the latest when the optimizer has taken its next step.

    A fused optimizer on a processor divides them itself, as it does for a loss scale, which spares a pass over all of them;
    they are clipped when its step is over, and what it stepped by differs by rounding.

    Args:
        model: whose gradients.
        optimizer: of its parameters.
        norm: of all gradients, before clipping.
        largest: norm after it.
        at_once: clip now, for somebody looks at them before the step or the optimizer divides by something else.
    """
    vars(optimizer).pop("grad_scale", None)
    # To ask an accelerator or other ranks whether there is anything to clip would be to wait; they multiply by 1.
    local = type(norm) is Tensor and norm.device.type == "cpu"
    if local and float(norm) + 1e-6 <= largest:
        return
    divides = type(optimizer) in FUSED and all(group.get("fused") for group in optimizer.param_groups)
    if local and divides and not at_once:
        optimizer.grad_scale = (norm + 1e-6) / largest  # type: ignore[attr-defined]
    else:
        nn.utils.clip_grads_with_norm_(model.parameters(), largest, norm)
