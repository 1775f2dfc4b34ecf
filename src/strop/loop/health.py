"""Is a training step sound? Answers of modules, gradients, and their variance against what was usual so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from strop.loop.state import local

USUAL = 25
"""Steps whose median is the usual variance, and before which nothing is compared with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is too much.

    Attributes:
        nan_ratio: share of NaN among the elements of an answer or gradient.
        inf_ratio: share of infinities.
        variance: of the gradients of one module; ``None``: only against the usual.
        growth: variance of a module's gradients against the usual one.
    """

    nan_ratio: float
    inf_ratio: float
    variance: float | None
    growth: float


class Health:
    """Watches modules while they answer, and gradients after backward; reads everything back once a step.

    An answer is looked at by one sum, which is not finite if any element is not; only then elements are counted. A
    gradient is looked at by its norm, whose square over the number of elements bounds the variance from above.

    Args:
        watched: modules by name.
        limits: what is too much.

    Attributes:
        norms: of the gradients that the latest verdict saw; of what is spread over ranks, those of this rank's parts.
    """

    def __init__(self, watched: Mapping[str, nn.Module], limits: Limits) -> None:
        self._watched, self._limits = watched, limits
        self._seen: list[tuple[str, Tensor, Tensor]] = []
        self._handles: list[Any] = []
        self._recent: deque[list[float]] = deque(maxlen=USUAL)
        self._first: list[list[float]] = []
        self.norms: list[Tensor] = []

    def begin(self) -> None:
        """Put the hooks on."""
        self._handles = [module.register_forward_hook(self._look(name)) for name, module in self._watched.items()]

    def end(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._seen = [], []

    def verdict(self, parameters: Sequence[tuple[str, nn.Parameter]], loss: Tensor, *, gradients: bool = True) -> str:
        """Say what is wrong with this step and in which module, or return an empty text; forgets what was seen.

        Args:
            parameters: by name.
            loss: of the step, a scalar.
            gradients: whether they are judged too; under a loss scale, infinite ones are that scale's business.
        """
        seen, self._seen = self._seen, []
        trained = [(name, p) for name, p in parameters if p.requires_grad]
        owned = [(name, local(p.grad) if p.grad is not None else p.new_zeros(())) for name, p in trained]
        norms = torch._foreach_norm([grad for _, grad in owned])
        self.norms = [norm for norm, (_, p) in zip(norms, trained, strict=True) if p.grad is not None]
        read = torch.stack([value.float() for value in (loss, *(total for _, total, _ in seen), *norms)]).tolist()
        for (name, _, answer), total in zip(seen, read[1:], strict=False):
            if not math.isfinite(total) and (wrong := self._counted(answer)):
                return f"{name} answered with {wrong}"
        if not gradients:
            return ""
        if not math.isfinite(read[0]):
            return f"the loss is {read[0]:g}, though every watched module answered soundly"
        squares = [norm * norm / max(1, grad.numel()) for norm, (_, grad) in zip(read[1 + len(seen) :], owned, strict=True)]
        for (name, grad), square in zip(owned, squares, strict=True):
            if not math.isfinite(square) and (wrong := self._counted(grad)):
                return f"the gradient of {_module(name)} holds {wrong}"
        return self._variance(owned, squares)

    def state_dict(self) -> dict[str, Any]:
        """Return what was usual so far."""
        return {"recent": list(self._recent), "first": list(self._first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._recent = deque(state["recent"], maxlen=USUAL)
        self._first = list(state["first"])

    def _look(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, answer: Any) -> None:
            if module.training:
                for leaf in (answer,) if isinstance(answer, Tensor) else tree_leaves(answer):
                    if isinstance(leaf, Tensor) and leaf.is_floating_point():
                        kept = leaf.detach()
                        # Only float16 sums could leave their range; to name the type is to copy the answer into it first.
                        total = kept.sum(dtype=torch.float32) if kept.dtype is torch.float16 else kept.sum()
                        self._seen.append((name, total, kept))

        return hook

    def _counted(self, values: Tensor) -> str:
        """Return what of ``values`` exceeds the limits, in words."""
        for what, share, limit in (
            ("NaN", float(values.isnan().double().mean()), self._limits.nan_ratio),
            ("infinities", float(values.isinf().double().mean()), self._limits.inf_ratio),
        ):
            if share > limit:
                return f"{100 * share:.3g} % {what}"
        return ""

    def _variance(self, owned: Sequence[tuple[str, Tensor]], squares: list[float]) -> str:
        usual, typical = self._usual(squares)
        for (name, grad), square, own in zip(owned, squares, usual, strict=True):
            limit = self._limits.growth * max(own, typical)
            if self._limits.variance is not None:
                limit = min(limit, self._limits.variance)
            if square > limit and (found := float(grad.var(correction=0))) > limit:
                return f"the gradient of {_module(name)} has variance {found:.3g}, more than {limit:.3g}"
        self._recent.append(squares)
        if len(self._first) < USUAL:
            self._first.append(squares)
        return ""

    def _usual(self, squares: list[float]) -> tuple[list[float], float]:
        """Return the usual mean square of each gradient, and the typical one of all: medians, of now or of the beginning.

        The larger counts: gradients of a model that has learned its samples are tiny, and one hard sample among them
        brings back what was ordinary in the beginning.
        """
        rows = list(self._recent)
        if len(rows) < USUAL:
            return [math.inf] * len(squares), math.inf
        now, then = (torch.tensor(r, dtype=torch.float64).median(0).values for r in (rows, self._first))
        both = torch.maximum(now, then)
        return both.tolist(), float(both.mean())


def _module(parameter: str) -> str:
    return parameter.rpartition(".")[0] or "the model"
