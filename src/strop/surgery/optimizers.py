"""Optimizers whose update is one kernel per parameter group."""

from __future__ import annotations

import inspect
from typing import Any

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
