"""Embeddings of which only the rows that the samples use are trained: what is never looked up has no gradient anyway."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from strop.contract.training import Training
from strop.errors import TrainingError
from strop.surgery.modules import find, replace

SMALLEST = 2**20
"""Elements of a table that is worth splitting."""
MOST_USED = 0.5
"""Share of its rows that the samples may use."""
MOST_SAMPLES = 200_000
"""Samples that are looked through; a larger data set keeps its tables whole."""

TOGETHER = 64
"""Samples that are looked through at once."""


class UsedRows(nn.Module):
    """An embedding in two parts: ``used``, (rows, width), is trained; the whole ``table`` answers for all other rows.

    Args:
        table: what it stands for.
        rows: numbers of the rows that are used, ascending, (rows,).
    """

    table: Tensor
    place: Tensor

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        self.whole, self.rows = [table], rows  # in a list, so that its weight is not a parameter of the model
        self.num_embeddings, self.embedding_dim, self.padding_idx = table.num_embeddings, table.embedding_dim, table.padding_idx
        weight = table.weight.detach()
        self.used = nn.Parameter(weight[rows])
        self.register_buffer("table", weight, persistent=False)
        place = torch.full((table.num_embeddings,), -1, dtype=torch.long)
        place[rows] = torch.arange(len(rows))
        self.register_buffer("place", place, persistent=False)
        self.padding = None if table.padding_idx is None or place[table.padding_idx] < 0 else int(place[table.padding_idx])

    def forward(self, input: Tensor) -> Tensor:
        """Look rows up: numbers of any shape → the same shape with the width behind it.

        Raises:
            TrainingError: while training, a row is asked for that no sample used when they were looked through.
        """
        place = self.place[input]
        known = place >= 0
        if bool(known.all()):
            return functional.embedding(place, self.used, self.padding)
        if self.training:
            raise TrainingError(
                f"a batch looks up row {int(input[~known][0])} of an embedding, which no sample did when all were looked "
                f"through: the samples, or what the model makes of them, are not the same each time. "
                f"Leave the rule 'embedding' out."
            )
        rows = functional.embedding(place.clamp(min=0), self.used)
        return torch.where(known[..., None], rows, functional.embedding(input, self.table))

    def restored(self) -> nn.Embedding:
        """Return the embedding with the rows as they are now."""
        table = self.whole[0].to(self.used.device)
        with torch.no_grad():
            table.weight[self.rows] = self.used
        return table


class _Enough(Exception):
    """The embedding was reached, and is not asked again in this forward."""


@dataclass(slots=True)
class _Seen:
    """What is seen of a table while the samples are looked through.

    Attributes:
        used: which rows were looked up, (rows,).
        calls: lookups in this forward.
        once: a forward looks up once, so that it can end there; what comes behind takes most of its time.
        read: the weight was read by something else than a lookup, as a product with it does.
    """

    used: Tensor
    calls: int = 0
    once: bool = False
    read: bool = False


class _Watched(nn.Embedding):
    """The class of a table while the samples are looked through."""

    seen: _Seen

    def forward(self, input: Tensor) -> Tensor:
        self.seen.used[input.reshape(-1).cpu()] = True
        self.seen.calls += 1
        if self.seen.once:
            raise _Enough
        weight = self._parameters["weight"]
        assert weight is not None
        return functional.embedding(input, weight, self.padding_idx)

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            self.seen.read = True
        return super().__getattr__(name)


def split(model: nn.Module, training: Training) -> int:
    """Train only the used rows of the model's largest embedding; return how many rows are left out, 0 where it stays whole.

    Every sample is collated once. The first of them are forwarded wholly, and all where that looks up more than once; otherwise
    the others go as far as the embedding. Buffers and random numbers are the caller's to put back. The embedding stays whole
    where it is shared, small or mostly used, where its weight is read otherwise than by looking rows up, where its rows are
    renormalised or have sparse gradients, and where there are too many samples to look through.
    """
    shared = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    tables = [
        (name, table)
        for name, table in find(model, nn.Embedding)
        if type(table) is nn.Embedding and shared[id(table.weight)] == 1 and table.weight.requires_grad and name
        if table.weight.numel() >= SMALLEST and table.max_norm is None and not table.sparse and not table.scale_grad_by_freq
    ]
    if not tables or len(training.data) > MOST_SAMPLES:
        return 0
    name, table = max(tables, key=lambda one: one[1].weight.numel())
    rows = _used(model, table, training)
    if not 0 < len(rows) <= MOST_USED * table.num_embeddings:
        return 0
    replace(model, name, UsedRows(table, rows))
    return table.num_embeddings - len(rows)


def undo(model: nn.Module) -> None:
    """Put whole embeddings back, trained rows in their places."""
    for name, module in list(find(model, UsedRows)):
        replace(model, name, module.restored())


def _used(model: nn.Module, table: nn.Embedding, training: Training) -> Tensor:
    """Return the rows that are looked up; none where a forward does without the table, or reads its weight otherwise."""
    seen = _Seen(torch.zeros(table.num_embeddings, dtype=torch.bool))
    vars(table)["seen"], table.__class__ = seen, _Watched
    try:
        with torch.no_grad():
            for start in range(0, len(training.data), TOGETHER):
                numbers = range(start, min(start + TOGETHER, len(training.data)))
                seen.calls = 0
                try:
                    training.forward(model, training.collate([training.data[number] for number in numbers]))
                except _Enough:
                    continue
                if seen.read or not seen.calls:
                    return torch.zeros(0, dtype=torch.long)
                seen.once = start == 0 and seen.calls == 1
    finally:
        table.__class__ = nn.Embedding
        del vars(table)["seen"]
    return seen.used.nonzero().reshape(-1)
