"""A training as a trial: its draft, and the processes in which its steps are timed and its whole course is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from strop import catalogue
from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import WorkloadError
from strop.loop.intents import training_of
from strop.loop.probe import probe
from strop.loop.state import own_random_numbers
from strop.measure.arm import ArmSpec
from strop.measure.host import Host
from strop.surgery.facts import read_facts
from strop.trial.reference import Reference


@dataclass(frozen=True, slots=True)
class Planned:
    """A recipe to train by; nothing is prepared beforehand, its process says at loading what became of it."""

    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What a training process is told: where the workload comes from, by which recipe (name → settings), with which seed."""

    reference: Reference
    recipe: Mapping[str, Mapping[str, Any]]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return {"reference": self.reference.to_json(), "recipe": dict(self.recipe), "seed": self.seed}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TrainingTask:
        """Rebuild a task from :meth:`to_json`."""
        return cls(reference=Reference(**row["reference"]), recipe=row["recipe"], seed=row["seed"])

    def build(self) -> tuple[Draft, Recipe]:
        """Build draft and recipe in this process.

        Raises:
            WorkloadError: the user's code failed.
        """
        draft = training_draft(self.reference.load_training(), self.seed)
        return draft, catalogue.recipe_from_json(self.recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingShop:
    """Describes the processes that train one workload.

    Attributes:
        reference: where they find it.
        host: the machine; its memory bounds each process.
        seed: of the run.
    """

    reference: Reference
    host: Host
    seed: int

    def arm(self, prepared: Planned, name: str) -> ArmSpec:
        """Describe the process that takes timed optimizer steps (:mod:`strop.trial.steps`)."""
        return self._spec("strop.trial.steps:open_steps", name, prepared.recipe, self.seed)

    def course(self, recipe: Recipe, seed: int) -> ArmSpec:
        """Describe the process that trains from beginning to end with its own seed (:mod:`strop.trial.course`)."""
        return self._spec("strop.trial.course:open_course", "course", recipe, seed)

    def _spec(self, target: str, name: str, recipe: Recipe, seed: int) -> ArmSpec:
        return ArmSpec(
            name=name,
            target=target,
            arguments=TrainingTask(reference=self.reference, recipe=recipe.to_json(), seed=seed).to_json(),
            environment={key: value for i in recipe for key, value in i.launch(self.host).environment.items()},
            memory_limit=self.host.address_limit,
        )


def training_draft(workload: TrainingWorkload, seed: int) -> Draft:
    """Build a draft of the workload and try its functions on a few samples.

    Raises:
        WorkloadError: the user's code failed or gave something else; the message says which part.
    """
    try:
        with own_random_numbers(seed):
            model = workload.model()
    except Exception as error:
        raise WorkloadError(f"model() of the workload failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise WorkloadError(f"model() of the workload gave a {type(model).__name__}; a torch.nn.Module was expected.")
    training = training_of(workload, seed)
    probe(workload, model, training)
    return Draft(model=model, workload=workload, facts=read_facts(model, workload), seed=seed, training=training)
