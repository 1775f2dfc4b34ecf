"""The language-model example: held-out texts, one loss in two ways, and steps that learn."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from examples.language_model import train as example
from strop.catalogue import read_recipe
from strop.contract.workload import TrainingWorkload
from strop.loop.loop import TrainingLoop
from strop.measure.host import Host
from strop.pipeline import Outcome, legal, train
from strop.surgery.saved import SavedBytes
from strop.trial.training import training_draft

RECIPE = Path(example.__file__).with_name("recipe.yaml")


@pytest.fixture(scope="module")
def plain(real) -> TrainingWorkload:
    found: TrainingWorkload = real(example.workload)
    return found


def test_sequences_hold_the_vocabulary_s_tokens_and_no_held_out_sequence_is_trained_on(plain: TrainingWorkload) -> None:
    tokens = example.corpus()
    assert all(part.shape[1] == 257 and part.min() >= 0 and part.max() < 49_152 for part in tokens)
    assert len(tokens.training) > 4000 and min(len(tokens.screening), len(tokens.confirming)) > 200
    seen = {tuple(row) for row in tokens.training.tolist()}
    held_out = [tuple(row) for part in (tokens.screening, tokens.confirming) for row in part.tolist()]
    assert not seen & set(held_out) and len(set(held_out)) == len(held_out)
    assert torch.equal(plain.confirming.labels[0], plain.confirming.inputs[0][:, 1:])  # type: ignore[index]


def losses(workload: TrainingWorkload) -> tuple[Tensor, int, list[Tensor]]:
    """Return the first loss, bytes saved for it, and its gradients."""
    draft = training_draft(workload, 0)
    assert draft.training is not None
    with TrainingLoop(draft.model, draft.training, seed=0) as loop:
        (micro,) = loop.micros([0, 1])
        with SavedBytes([*draft.model.parameters(), *draft.model.buffers()]) as saved:
            loss = loop.forward(micro)
        loss.backward()
        return loss.detach(), saved.total, [p.grad for p in draft.model.parameters() if p.grad is not None]


@pytest.mark.slow
def test_in_chunks_the_loss_is_the_same_and_no_logits_are_kept(plain: TrainingWorkload) -> None:
    (loss, saved, grads), (other, fewer, others) = losses(plain), losses(example.chunked())
    assert loss == pytest.approx(math.log(49_152), rel=0.02) and other == pytest.approx(float(loss), rel=1e-6)
    for one, two in zip(grads, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)
    logits = 2 * 256 * 49_152 * 4
    assert saved - fewer > 0.9 * logits


@pytest.mark.slow
def test_a_few_steps_by_the_recipe_lower_the_loss(plain: TrainingWorkload) -> None:
    recipe, draft = read_recipe(RECIPE), training_draft(dataclasses.replace(example.chunked(), batch_size=2), 0)
    assert legal(recipe, plain.traits) is None
    assert draft.training is not None
    seen: list[float] = []

    def run(loop: TrainingLoop) -> None:
        for _ in range(3):
            loop.run(1)
            seen.append(float(loop.step_loss))

    done = train(draft, recipe, Host(cpu="any", cores=2), run=run)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert seen[-1] < seen[0] - 0.1
