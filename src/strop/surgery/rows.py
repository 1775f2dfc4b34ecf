"""Embeddings of which only the rows that the samples use are trained: what is never looked up has no gradient anyway."""

from __future__ import annotations

from collections import Counter

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
                f"through: the samples are not the same each time. Leave the rule 'embedding' out."
            )
        rows = functional.embedding(place.clamp(min=0), self.used)
        return torch.where(known[..., None], rows, functional.embedding(input, self.table))

    def restored(self) -> nn.Embedding:
        """Return the embedding with the rows as they are now."""
        table = self.whole[0].to(self.used.device)
        with torch.no_grad():
            table.weight[self.rows] = self.used
        return table


class _Seen(Exception):
    """The embedding was reached."""


def split(model: nn.Module, training: Training) -> int:
    """Train only the used rows of the model's largest embedding; return how many rows are left out, 0 where it stays whole.

    Every sample is collated once and forwarded as far as the embedding. It stays whole where it is shared, small or mostly
    used, where its rows are renormalised or have sparse gradients, and where there are too many samples to look through.
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
    used = torch.zeros(table.num_embeddings, dtype=torch.bool)

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        used[arguments[0].reshape(-1).cpu()] = True
        raise _Seen

    handle = table.register_forward_pre_hook(note)
    try:
        with torch.no_grad():
            for start in range(0, len(training.data), TOGETHER):
                numbers = range(start, min(start + TOGETHER, len(training.data)))
                try:
                    training.forward(model, training.collate([training.data[number] for number in numbers]))
                except _Seen:
                    continue
                return used.nonzero().reshape(-1)[:0]  # the embedding is not part of this forward
    finally:
        handle.remove()
    return used.nonzero().reshape(-1)
