"""The fine-tuning example: disjoint real data, honest evaluation batches, and a step that learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from examples.minilm_finetune import train as example
from strop.api.train import training_draft
from strop.catalogue import read_recipe
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.errors import TrainingError
from strop.instructions.training.i13_numeric_stability_monitor import NumericStabilityMonitor
from strop.measure.host import Host
from strop.pipeline import Outcome, legal, train

RECIPE = Path(example.__file__).with_name("recipe.yaml")


@pytest.fixture(scope="module")
def workload(real):
    return real(example.workload)


def test_training_and_evaluation_sentences_are_disjoint(workload) -> None:
    def seen(batches):
        return {tuple(row[row != 0].tolist()) for batch in batches for row in batch["input_ids"]}

    trained = {tuple(sample.ids.tolist()) for sample in workload.data}
    screening, confirming = seen(workload.screening.inputs), seen(workload.confirming.inputs)
    assert len(workload.data) == 800 and len(confirming) > 1400
    assert not trained & screening and not trained & confirming and not screening & confirming


def test_every_evaluation_sentence_is_there_with_its_label(workload) -> None:
    assert sum(len(labels) for labels in workload.confirming.labels) == 1500
    assert {int(label) for labels in workload.confirming.labels for label in labels} == {0, 1}
    for batch, labels in zip(workload.confirming.inputs, workload.confirming.labels, strict=True):
        assert len(batch["input_ids"]) == len(labels)


def test_the_recipe_is_legal_and_its_batches_hold_less_padding(workload) -> None:
    recipe = read_recipe(RECIPE)
    assert legal(recipe, workload.traits) is None
    assert [instruction.number for instruction in recipe] == [6, 13, 18, 31]


def test_a_few_steps_by_the_recipe_lower_the_loss(workload) -> None:
    few = dataclasses.replace(workload, data=workload.data[:16], batch_size=8, epochs=4)
    draft, losses = training_draft(few, 0), []
    assert draft.training is not None
    draft.training.on(LoopEvent.STEP_END, lambda loop: losses.append(float(loop.step_loss)))
    host = Host(cpu="any", cores=2, isa=frozenset({"avx512_bf16"}))
    done = train(draft, read_recipe(RECIPE), host)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert sum(losses[-3:]) < sum(losses[:3]) and len(losses) == 8 and all(torch.isfinite(torch.tensor(losses)))


@pytest.mark.slow
def test_a_nan_planted_in_a_layer_of_the_real_model_is_caught_at_its_step_by_name(workload) -> None:
    draft, name = training_draft(workload, 0), "encoder.encoder.layer.3.attention.output.dense"
    assert draft.training is not None
    now = [0]
    draft.training.on(LoopEvent.BATCH, lambda loop: now.append(loop.step + 1))
    draft.model.get_submodule(name).register_forward_hook(
        lambda module, args, answer: answer.masked_fill(torch.rand_like(answer) < 1e-3, torch.nan) if now[-1] == 3 else answer
    )
    with pytest.raises(TrainingError, match=rf"step 3: {name} answered with 0\.\d+ % NaN"):
        train(draft, Recipe([NumericStabilityMonitor(action="halt")]), Host(cpu="any", cores=2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_hundred_clean_steps_of_the_real_model_raise_no_alarm(workload, seed: int) -> None:
    draft = training_draft(dataclasses.replace(workload, batch_size=2, epochs=1, steps=300), seed)
    done = train(draft, Recipe([NumericStabilityMonitor()]), Host(cpu="any", cores=2))
    counts = done.tallies["numeric_stability_monitor"]
    assert counts["sound steps"] == 300 and "alarms" not in counts
