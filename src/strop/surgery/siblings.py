"""Linear layers that read the same tensor, as the projections of attention do, computed as one product (horizontal fusion)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strop.surgery.modules import restore_forward


class _Siblings:
    """Answers for all of them when the first is asked, and keeps the others' answers until they are asked.

    Args:
        layers: in the order in which they are called.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._layers = tuple(layers)
        self._source: tuple[Tensor, int, bool] | None = None
        self._answers: dict[int, Tensor] = {}

    def answer(self, layer: nn.Linear, input: Tensor) -> Tensor:
        """Answer as ``layer`` would."""
        if input.is_inference():  # such tensors do not tell whether they were changed
            return functional.linear(input, layer.weight, layer.bias)
        if layer is self._layers[0]:
            return self._together(input)
        source, state = self._source, (input._version, torch.is_grad_enabled())
        if source is None or source[0] is not input or source[1:] != state or id(layer) not in self._answers:
            return functional.linear(input, layer.weight, layer.bias)
        found = self._answers.pop(id(layer))
        if not self._answers:
            self._source = None
        return found

    def _together(self, input: Tensor) -> Tensor:
        weight = torch.cat([_cast(layer.weight) for layer in self._layers])
        biases: list[Tensor] = [
            p for layer in self._layers for name, p in layer.named_parameters(recurse=False) if name == "bias"
        ]
        whole = functional.linear(input, weight, torch.cat(biases) if biases else None)
        first, *rest = torch.split(whole, [layer.out_features for layer in self._layers], -1)
        self._source = input, input._version, torch.is_grad_enabled()
        self._answers = {id(layer): answer for layer, answer in zip(self._layers[1:], rest, strict=True)}
        return first


def _cast(weight: Tensor) -> Tensor:
    """Return the weight as autocast will hand it to the product; to join the cast ones moves half the bytes."""
    device = weight.device.type
    if weight.dtype is torch.float32 and torch.is_autocast_enabled(device):
        return weight.to(torch.get_autocast_dtype(device))
    return weight


class _Joined:
    """Stands for a layer's forward."""

    def __init__(self, layer: nn.Linear, siblings: _Siblings) -> None:
        self._layer, self._siblings = layer, siblings

    def __call__(self, input: Tensor) -> Tensor:
        return self._siblings.answer(self._layer, input)


def join(model: nn.Module, run: Callable[[], object]) -> int:
    """Let linear layers that read the same tensor share a product; return how many there are.

    Joined are layers that are called once, all with a bias or all without; one that is later called with another tensor, or after
    the tensor was changed in place, answers by itself. So do layers whose answer is changed in place (torch refuses that for
    views that were made together, and copies take more time than joining saves), layers with hooks before their call, and those
    whose weights are computed, which are not known until then.

    Args:
        model: changed in place, until :func:`undo`; its parameters stay as they are.
        run: lets the model train on a batch, so that it is seen who reads what.
    """
    calls: list[tuple[nn.Linear, Tensor, int]] = []
    answers: list[tuple[nn.Module, Tensor]] = []

    def note(layer: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        assert isinstance(layer, nn.Linear)
        tensor = arguments[0] if arguments else named["input"]
        calls.append((layer, tensor, tensor._version))

    plain = [module for module in model.modules() if _joinable(module)]
    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in plain]
    handles += [layer.register_forward_hook(lambda layer, _, answer: answers.append((layer, answer))) for layer in plain]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(id(layer) for layer, _, _ in calls)
    changed = {id(layer) for layer, answer in answers if answer._version}
    readers: dict[tuple[int, int, bool], list[nn.Linear]] = defaultdict(list)
    for layer, tensor, version in calls:
        if times[id(layer)] == 1 and id(layer) not in changed:
            readers[id(tensor), version, layer.bias is None].append(layer)
    joined = [layers for layers in readers.values() if len(layers) > 1]
    for layers in joined:
        siblings = _Siblings(layers)
        for layer in layers:
            layer.forward = _Joined(layer, siblings)  # type: ignore[method-assign]
    return sum(map(len, joined))


def _joinable(module: nn.Module) -> bool:
    plain = type(module) is nn.Linear and "forward" not in vars(module) and not module._forward_pre_hooks
    return plain and {"weight", "bias"} <= module._parameters.keys()


def undo(model: nn.Module) -> None:
    """Let every layer answer by itself again."""
    restore_forward(model, _Joined)
