"""Train a workload by a recipe: once, for real, with checkpoints and a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strop.api.sitting import Sitting
from strop.api.train_record import Interval
from strop.catalogue import read_recipe
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import RecipeError
from strop.loop.state import own_random_numbers
from strop.observe import Observer, silent
from strop.pipeline import legal
from strop.report.training import TrainingReport
from strop.trial.reference import parse_reference
from strop.trial.training import training_draft


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a training gave.

    Attributes:
        folder: the run directory: ``model.safetensors``, ``report.html``, ``result.json``, ``events.jsonl``, ``checkpoints``.
        report: everything that is known about it.
    """

    folder: Path
    report: TrainingReport

    @property
    def weights(self) -> Path | None:
        """The trained weights; ``None`` where training did not end well."""
        return self.folder / self.report.weights if self.report.weights else None

    @property
    def exit_code(self) -> int:
        """0 trained, 1 diverged, 130 interrupted."""
        return {"trained": 0, "interrupted": 130}.get(self.report.status, 1)


def train(
    workload: str | Path | TrainingWorkload,
    *,
    recipe: str | Path | Recipe = "",
    out: str | Path = "",
    seed: int = 0,
    resume: bool = False,
    checkpoint_every: str = "5m",
    observer: Observer = silent,
) -> TrainingResult:
    """Train, and write weights, checkpoints and a report into the run directory.

    Args:
        workload: a file that holds a :class:`strop.TrainingWorkload`, or one itself.
        recipe: a recipe, its YAML, or a file that holds it; empty: train as the workload says.
        out: the run directory; default: ``runs/train-NAME``.
        seed: of weights, order of samples and all other random numbers.
        resume: go on from the latest checkpoint in ``out``; the end is bit-equal to a run that was never interrupted.
        checkpoint_every: steps (``"500"``) or time (``"5m"``) between checkpoints.
        observer: told what happens.

    Under ``torchrun`` every process calls this, and the first one writes.

    Raises:
        WorkloadError: the workload does not hold together; nothing was done.
        RecipeError: the recipe is unknown or illegal for training; nothing was done.
        PrepareError: an instruction declined or lacks a package; nothing was done.
        TrainingError: training could not go on; ``out`` holds checkpoints and a report.
    """
    interval = Interval.parse(checkpoint_every)
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe) if recipe else Recipe()
    live = isinstance(workload, TrainingWorkload)
    reference = "" if live else parse_reference(str(workload)).value
    loaded = workload if isinstance(workload, TrainingWorkload) else parse_reference(str(workload)).load_training()
    problem = legal(chosen, loaded.traits)
    if problem:
        raise RecipeError(f"{problem}.")
    name = loaded.name or (Path(reference).stem if reference else "live")
    with own_random_numbers(seed):
        sitting = Sitting(
            draft=training_draft(loaded, seed),
            workload=loaded,
            recipe=chosen,
            folder=Path(out) if str(out) else Path("runs") / f"train-{name}",
            plan={"command": "train", "name": name, "reference": reference, "recipe": chosen.to_json(), "seed": seed},
            resume=resume,
            interval=interval,
            observer=observer,
        )
        return TrainingResult(folder=sitting.folder, report=sitting.carry_out())
