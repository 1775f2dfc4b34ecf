"""Watch which module's answer goes where while the model answers its example inputs.

Works on any model that runs, whatever its control flow: functions are seen through ``TorchFunctionMode``, modules through
hooks, and nothing of the model is rewritten. What was seen holds for these inputs; surgery based on it is verified by
running them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from strop.contract.pytree import map_leaves
from strop.contract.signature import Call, as_call


@dataclass(frozen=True, slots=True)
class Seen:
    """A torch function that ran inside a module.

    Attributes:
        name: the function's name, for instance ``"conv2d"``.
        constants: positional arguments that are not tensors.
        options: keyword arguments that are not tensors.
    """

    name: str
    constants: tuple[Any, ...]
    options: dict[str, Any]


@dataclass(eq=False, slots=True)
class ModuleCall:
    """One call of a watched module.

    Attributes:
        name: dotted name of the module.
        functions: the torch functions that ran inside, in order.
        source: the call whose answer it took, if it took exactly one tensor and that came from a watched module.
        users: who took its answer: a call, or ``None`` for a function outside watched modules or the model's answer.
        shape: of the tensor it took.
        numel: elements of its answer.
    """

    name: str
    functions: list[Seen] = field(default_factory=list)
    source: ModuleCall | None = None
    users: list[ModuleCall | None] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    numel: int = 0

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the functions that ran inside."""
        return tuple(seen.name for seen in self.functions)


Flow = dict[str, list[ModuleCall]]
"""Module → its calls over all examples, in order."""


def watch(model: nn.Module, examples: Iterable[object]) -> Flow:
    """Answer the examples and return what went where between layers.

    Watched are convolutions, linear layers, batch norms and all modules without children; what runs inside a watched
    module belongs to it. Hooks are removed whatever happens.
    """
    recorder = _Recorder()
    handles = []
    for name, module in model.named_modules():
        if name and (isinstance(module, _ConvNd | nn.Linear | _BatchNorm) or not list(module.children())):
            handles.append(module.register_forward_pre_hook(recorder.enter(name), with_kwargs=True))
            handles.append(module.register_forward_hook(recorder.leave(name)))
    try:
        for example in examples:
            args, kwargs = torch_call(example)
            with torch.inference_mode(), recorder:
                answer = model(*args, **kwargs)
            recorder.finish(answer)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.flow


def answers(model: nn.Module, examples: Iterable[object]) -> list[list[Tensor]]:
    """Return the tensors of the model's answer to each example."""
    found = []
    for example in examples:
        args, kwargs = torch_call(example)
        with torch.inference_mode():
            found.append(_tensors(model(*args, **kwargs)))
    return found


def torch_call(example: object) -> Call:
    """Return an example as the arguments of one call, numpy arrays turned into tensors."""
    args, kwargs = as_call(example)
    return tuple(map_leaves(torch.as_tensor, list(args))), map_leaves(torch.as_tensor, kwargs)


def few(examples: Sequence[object], count: int = 3) -> list[object]:
    """Return the first, middle and last examples: enough to see every operating point's path without running them all."""
    if len(examples) <= count:
        return list(examples)
    return [examples[round(i * (len(examples) - 1) / (count - 1))] for i in range(count)]


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.flow: Flow = {}
        self._open: list[ModuleCall] = []
        self._depth = 0
        self._made: dict[int, tuple[Tensor, ModuleCall]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        answer = func(*args, **options)
        if _tensors(answer):
            here = self._open[-1] if self._open else None
            for tensor in _tensors((args, options)):
                maker = self._maker(tensor)
                if maker is not None and maker is not here:
                    maker.users.append(here)
            if here is not None:
                constants = tuple(a for a in args if not isinstance(a, Tensor))
                rest = {k: v for k, v in options.items() if not isinstance(v, Tensor)}
                here.functions.append(Seen(getattr(func, "__name__", str(func)), constants, rest))
        return answer

    def enter(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._depth += 1
            if self._depth > 1:
                return
            call = ModuleCall(name)
            tensors = _tensors((args, kwargs))
            if len(tensors) == 1:
                call.source = self._maker(tensors[0])
                call.shape = tuple(tensors[0].shape)
            self._open.append(call)

        return hook

    def leave(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, answer: Any) -> None:
            self._depth -= 1
            if self._depth > 0:
                return
            call = self._open.pop()
            if not call.functions:
                return  # an Identity: its answer is its input and keeps the former maker
            self.flow.setdefault(name, []).append(call)
            if isinstance(answer, Tensor):
                call.numel = answer.numel()
                self._made[id(answer)] = (answer, call)

        return hook

    def finish(self, answer: Any) -> None:
        for tensor in _tensors(answer):
            maker = self._maker(tensor)
            if maker is not None:
                maker.users.append(None)
        self._made.clear()

    def _maker(self, tensor: Tensor) -> ModuleCall | None:
        found = self._made.get(id(tensor))
        return found[1] if found is not None else None


def _tensors(tree: Any) -> list[Tensor]:
    """Tensors in nested containers and in the fields of model outputs, which count as mappings or dataclasses."""
    leaves = tree_leaves(tree)
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    for leaf in leaves:
        if not isinstance(leaf, Tensor) and hasattr(leaf, "__dataclass_fields__"):
            found += [v for v in vars(leaf).values() if isinstance(v, Tensor)]
    return found


def departure(before: list[list[Tensor]], after: list[list[Tensor]]) -> float:
    """Return the largest difference between two lists of answers, relative to the largest value of its tensor.

    Infinity where structures differ, or where one answer holds NaN and the other does not.
    """
    worst = 0.0
    for old, new in zip(before, after, strict=True):
        if [t.shape for t in old] != [t.shape for t in new]:
            return float("inf")
        for a, b in zip(old, new, strict=True):
            if a.numel() and not torch.equal(a, b):
                both = torch.equal(a.isnan(), b.isnan())
                difference = (a.double() - b.double()).abs().nan_to_num(nan=0.0 if both else float("inf"))
                worst = max(worst, (difference.max() / a.double().abs().nan_to_num().max().clamp_min(1e-12)).item())
    return worst
