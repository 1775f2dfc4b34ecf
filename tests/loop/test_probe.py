"""Whatever does not hold together is said before any work, naming the part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from strop.errors import WorkloadError
from strop.loop.intents import training_of
from strop.loop.probe import probe
from strop.testing.models import sentences_workload

ROWS = sentences_workload().data


def look(**changes: Any) -> nn.Module:
    workload = sentences_workload(**changes)
    model = workload.model()
    probe(workload, model, training_of(workload, 0))
    return model


def test_a_workload_that_holds_together_passes_and_its_model_is_untouched() -> None:
    model = look()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), sentences_workload().model().parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters()) and model.training


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"collate": lambda rows: 1 / 0}, "collate of the workload failed on its first samples: ZeroDivisionError"),
        ({"forward": lambda model, batch: model(batch)}, "forward of the workload failed on its first samples: TypeError"),
        ({"loss": lambda outputs, batch: batch["no"]}, "loss of the workload failed on its first samples"),
        ({"loss": lambda outputs, batch: outputs}, r"loss gave a torch\.float32 of shape \[4, 3\] for 4 samples"),
        ({"loss": lambda outputs, batch: None}, "loss gave a NoneType"),
        ({"loss": lambda outputs, batch: outputs.sum() * float("nan")}, "loss is nan before any training"),
        ({"items": lambda batch: batch["no"]}, "items of the workload failed"),
        ({"optimizer": lambda model: 3}, r"optimizer gave a int; a torch\.optim\.Optimizer"),
        ({"optimizer": lambda model: torch.optim.SGD(nn.Linear(1, 1).parameters())}, "holds no parameter of the model"),
        (
            {"data": [*ROWS, (torch.ones(3).long(), 3)]},
            "sample 24 has label 3, but the model gives 3 outputs: labels run from 0 to 2",
        ),
        ({"data": [*ROWS, (torch.ones(3).long(), -1)]}, "sample 24 has label -1"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        look(**changes)
