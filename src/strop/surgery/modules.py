"""Find, count and replace modules by kind and by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeVar

from torch import nn
from torch.nn.modules.conv import _ConvNd

M = TypeVar("M", bound=nn.Module)


class Weight(NamedTuple):
    """A parameter that takes part in a matrix product.

    Attributes:
        name: dotted name of the parameter.
        kind: the kind of product.
        numel: number of elements.
    """

    name: str
    kind: Literal["linear", "convolution", "recurrent"]
    numel: int


def find(model: nn.Module, kind: type[M]) -> Iterator[tuple[str, M]]:
    """Yield dotted name and module for every module of ``kind``, subclasses included, in registration order."""
    for name, module in model.named_modules():
        if isinstance(module, kind):
            yield name, module


def replace(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` in every place of the module called ``name``, keeping its training flag.

    A module may have several names, as the first layers of an encoder have that a model lists again; a forward may use any.

    Raises:
        AttributeError: there is no such module.
    """
    old = model.get_submodule(name)
    new.train(old.training)
    for parent in list(model.modules()):
        for leaf in [leaf for leaf, child in parent._modules.items() if child is old]:
            setattr(parent, leaf, new)


def replace_all(model: nn.Module, kind: type[M], build: Callable[[str, M], nn.Module | None]) -> int:
    """Replace each module of ``kind`` by what ``build(name, module)`` returns; ``None`` leaves it. Return the count."""
    count = 0
    for name, module in list(find(model, kind)):
        new = build(name, module)
        if new is not None and name:
            replace(model, name, new)
            count += 1
    return count


def restore_forward(model: nn.Module, kind: type) -> None:
    """Give every module back its own forward where one of ``kind`` stands for it."""
    for module in model.modules():
        if isinstance(vars(module).get("forward"), kind):
            del module.forward


def matrix_weights(model: nn.Module) -> tuple[Weight, ...]:
    """List the parameters that take part in matrix products; embeddings and norms are not among them.

    A matrix in a module of unknown class counts as linear, which is how models write ``x @ self.weight``.
    """
    found: list[Weight] = []
    for prefix, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.ndim >= 2:
                found.append(Weight(name, _kind(module), parameter.numel()))
    return tuple(found)


def _kind(module: nn.Module) -> Literal["linear", "convolution", "recurrent"]:
    if isinstance(module, _ConvNd):
        return "convolution"
    return "recurrent" if isinstance(module, nn.RNNBase | nn.RNNCellBase) else "linear"


def has(model: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Tell whether any module is of one of the kinds."""
    return any(isinstance(module, kinds) for module in model.modules())
