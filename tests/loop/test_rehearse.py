"""A rehearsal runs what training will run, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.contract.training import Training
from strop.loop.intents import training_of
from strop.loop.rehearse import first_batch, put_back, rehearse
from strop.loop.state import random_state
from strop.testing.models import sentences_workload


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.norm(input_ids[:, :4].float() + torch.rand(1)))}


def plan() -> tuple[Training, nn.Module]:
    workload = sentences_workload(data=[row for row in sentences_workload().data if len(row[0]) > 4], micro_batch=3)
    return training_of(workload, 0), Normed().eval()


def test_the_first_micro_batch_is_the_first_that_training_meets() -> None:
    training, _ = plan()
    batch = first_batch(training)
    assert batch["labels"].tolist() == [training.data[n][1] for n in training.batches(0)[0][:3]]


def test_it_runs_in_training_mode_with_gradients_and_puts_everything_back() -> None:
    training, model = plan()
    before, numbers = {k: v.clone() for k, v in model.state_dict().items()}, random_state()["torch"]
    with torch.no_grad():
        loss = rehearse(model, training, first_batch(training))
    assert loss.requires_grad and loss.shape == (3,)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training and torch.equal(random_state()["torch"], numbers)
    assert all(p.grad is None for p in model.parameters())


def test_an_error_leaves_no_trace_either() -> None:
    _, model = plan()
    with pytest.raises(ZeroDivisionError), put_back(model):
        model.norm.running_mean.fill_(7)  # type: ignore[union-attr, operator]
        raise ZeroDivisionError
    assert not model.training and not model.norm.running_mean.any()  # type: ignore[union-attr, operator]
