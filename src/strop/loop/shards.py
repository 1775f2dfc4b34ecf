"""A model whose parameters are spread over the ranks: put apart, put together again, and in checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from strop.loop.state import local
from strop.units import Bytes


def shard(model: nn.Module, blocks: Sequence[str], device: str, world: int) -> Callable[[], None]:
    """Leave each rank its part of every parameter; ``blocks`` are gathered one at a time, what is outside them together.

    Returns:
        A function that gathers the parameters for good and takes off all that sharding put on the modules.
    """
    before = [(module, type(module), set(vars(module)), _hooks(module)) for module in model.modules()]
    mesh = init_device_mesh(device.partition(":")[0], (world,))
    for name in blocks:
        fully_shard(model.get_submodule(name), mesh=mesh)
    fully_shard(model, mesh=mesh)
    added = [(module, set(vars(module)) - names) for module, _, names, _ in before]

    def undo() -> None:
        _gather(model)
        for module, cls, _, hooks in before:
            module.__class__ = cls
            for name, kept in hooks.items():
                vars(module)[name].clear()
                vars(module)[name].update(kept)
        for module, names in added:
            for name in names:
                delattr(module, name)

    return undo


def held(model: nn.Module) -> Bytes:
    """Return how many bytes of parameters lie on this rank."""
    return sum(local(parameter).nbytes for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be spread as one that is not; all ranks must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_again(state: dict[str, Any], model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return a loop's state in which the parts that a checkpoint holds are again parts of what is spread."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(isinstance(p, DTensor) for p in parameters):
        return state
    present = model.state_dict()
    moments = {n: {k: _like(v, parameters[n]) for k, v in row.items()} for n, row in state["optimizer"]["state"].items()}
    return {
        **state,
        "model": {name: _like(value, present[name]) for name, value in state["model"].items()},
        "optimizer": {**state["optimizer"], "state": moments},
    }


def _like(value: Any, spread: Any) -> Any:
    part = isinstance(value, Tensor) and not isinstance(value, DTensor) and isinstance(spread, DTensor)
    if not part or value.shape != spread.to_local().shape:
        return value
    mesh, places = spread.device_mesh, spread.placements
    return DTensor.from_local(value, mesh, places, run_check=False, shape=spread.shape, stride=spread.stride())


def _gather(model: nn.Module) -> None:
    """Put whole parameters in place of the parts; one that two modules share stays one."""
    found: dict[int, nn.Parameter] = {}
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    if id(parameter) not in found:
                        found[id(parameter)] = nn.Parameter(whole(parameter.detach()).clone(), parameter.requires_grad)
                    module._parameters[name] = found[id(parameter)]


def _hooks(module: nn.Module) -> dict[str, dict[Any, Any]]:
    return {name: dict(value) for name, value in vars(module).items() if name.endswith("_hooks") and isinstance(value, dict)}
