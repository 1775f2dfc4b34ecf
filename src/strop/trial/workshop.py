"""The parent's side of trials: start preparing processes, keep their artefacts, describe the arms that run them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from strop.contract.draft import Draft, EngineOptions
from strop.contract.moment import Moment
from strop.contract.recipe import Recipe
from strop.contract.workload import InferenceWorkload
from strop.errors import PrepareError
from strop.ledger.cache import publish, touch
from strop.ledger.files import read_json, write_json
from strop.measure.arm import ArmSpec
from strop.measure.host import Host
from strop.pipeline import Outcome, Preparation, artefact_key, fit_key, opening, prepare
from strop.trial.child import Child
from strop.trial.materials import Materials
from strop.trial.reference import Reference
from strop.trial.task import Task
from strop.units import Bytes, Seconds

GRAPHS = "graphs"
"""Folder within the cache for what recipes share: converted graphs, and trained weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A recipe whose preparing has ended, well or not.

    Attributes:
        recipe: what was prepared.
        folder: holds ``artefact/`` and ``prepared.json``.
        preparation: the outcome.
        options: how its artefact is opened.
        seconds: what preparing cost; 0 when it came from the cache.
    """

    recipe: Recipe
    folder: Path
    preparation: Preparation
    options: EngineOptions
    seconds: Seconds

    @property
    def ready(self) -> bool:
        """Whether there is an artefact to run."""
        return self.preparation.outcome is Outcome.PREPARED

    @property
    def artefact(self) -> Path:
        """The folder the engine opens."""
        return self.folder / "artefact"

    @property
    def size(self) -> Bytes:
        """Bytes of the artefact on disk."""
        return sum(path.stat().st_size for path in self.artefact.rglob("*") if path.is_file())


class Workshop:
    """Prepares recipes for one workload.

    Args:
        reference: where child processes find the workload.
        materials: its data on disk.
        host: the machine; its memory bounds each process.
        cache: folder of artefacts by content hash.
        origin: what artefacts depend on besides the recipe; part of the hash.
        logs: folder for the output of the processes.
        seed: of every random choice.
    """

    def __init__(
        self,
        reference: Reference,
        materials: Materials,
        host: Host,
        cache: Path,
        origin: Mapping[str, Any],
        logs: Path,
        seed: int,
    ) -> None:
        self._reference, self._materials, self._host = reference, materials, host
        self._cache, self._origin, self._logs, self._seed = cache, origin, logs, seed
        self._entries: dict[str, Path] = {}
        self._logs.mkdir(parents=True, exist_ok=True)

    def ready(self, recipe: Recipe) -> bool:
        """Whether an artefact of this recipe, or the reason why there is none, is in the cache."""
        entry = self._entry(recipe)
        return _complete(entry) or _complete(_refusal(entry, recipe))

    def fitted(self, recipe: Recipe) -> bool:
        """Whether a recipe that trains in the same way has trained already."""
        return (self._cache / GRAPHS / fit_key(recipe, self._origin)).exists()

    def prepare(self, recipes: Sequence[Recipe], timeout: Seconds) -> list[Prepared]:
        """Prepare recipes side by side, each in its own process under one fixed environment; nothing timed runs now.

        Args:
            recipes: what to prepare.
            timeout: seconds for all of them; what is not ready then is stopped and counts as failed.
        """
        start = time.monotonic()
        entries = [self._entry(recipe) for recipe in recipes]
        first = dict(reversed(list(zip(entries, recipes, strict=True))))
        todo = {entry: recipe for entry, recipe in first.items() if not self.ready(recipe)}
        children: dict[Path, Child] = {}
        spent: dict[Path, Seconds] = {}
        failed: dict[str, Preparation] = {}
        try:
            for entry, recipe in todo.items():
                children[entry] = self._start(recipe, entry)
            for entry, child in children.items():
                in_time = child.wait(start + timeout - time.monotonic())
                problem = "" if in_time else f"preparing took more than {timeout:.0f} s and was stopped"
                spent[entry] = time.monotonic() - start
                told = self._told(entry, child, problem)
                if told.outcome is Outcome.FAILED:  # kept for nobody: what ran out of memory today may succeed tomorrow
                    failed[todo[entry].key] = told
                    shutil.rmtree(_unfinished(entry), ignore_errors=True)
                else:  # another recipe may share the artefact, but not the reason why there is none
                    publish(_unfinished(entry), entry if told.outcome is Outcome.PREPARED else _refusal(entry, todo[entry]))
        finally:
            for child in children.values():
                child.kill()
        left = [recipe for recipe in recipes if recipe.key not in failed and not self.ready(recipe)]
        rest = {p.recipe.key: p for p in self.prepare(left, start + timeout - time.monotonic())} if left else {}
        return [
            rest.get(r.key) or self._prepared(r, e, spent.get(e, 0.0), failed.get(r.key))
            for r, e in zip(recipes, entries, strict=True)
        ]

    def prepare_original(self, workload: InferenceWorkload, model: torch.nn.Module) -> Prepared:
        """Prepare the recipe without instructions from a model that this process has just built, sparing a process.

        Raises:
            PrepareError: it cannot be prepared, so nothing can be compared with it.
        """
        recipe, start = Recipe(), time.monotonic()
        entry = self._entry(recipe)
        if not _complete(entry):
            folder = _begin(entry)
            draft = self._materials.draft(workload, model, self._seed)
            try:
                preparation = prepare(draft, recipe, self._host, folder / "artefact")
            except Exception as error:  # the model's own code and the back ends may raise anything
                shutil.rmtree(folder, ignore_errors=True)
                raise PrepareError(f"the original model cannot be prepared: {type(error).__name__}: {error}") from error
            if preparation.outcome is not Outcome.PREPARED:
                shutil.rmtree(folder, ignore_errors=True)
                raise PrepareError(f"the original model cannot be prepared: {preparation.reason}")
            write_json(folder / "prepared.json", preparation.to_json())
            publish(folder, entry)
        return self._prepared(recipe, entry, time.monotonic() - start, None)

    def arm(self, prepared: Prepared, name: str, *, environment: Mapping[str, str] | None = None) -> ArmSpec:
        """Describe the process that opens and runs an artefact."""
        touch(prepared.folder)
        launch = {key: value for i in prepared.recipe for key, value in i.launch(self._host).environment.items()}
        return ArmSpec(
            name=name,
            target="strop.trial.target:open_target",
            arguments={
                "engine": prepared.preparation.engine,
                "artefact": str(prepared.artefact),
                "options": asdict(prepared.options),
                "signature": self._materials.signature.to_json(),
                "points": {point: str(self._materials.point_file(point)) for point in self._materials.points},
                "task": self._task(prepared.recipe, prepared.folder).to_json(),
            },
            environment={**launch, **(environment or {})},
            memory_limit=self._host.address_limit,
        )

    def _entry(self, recipe: Recipe) -> Path:
        """Return the recipe's place in the cache; the hash behind its name reads source code, so it is computed once."""
        if recipe.key not in self._entries:
            self._entries[recipe.key] = self._cache / artefact_key(recipe, self._origin)
        return self._entries[recipe.key]

    def _start(self, recipe: Recipe, entry: Path) -> Child:
        folder = _begin(entry)
        write_json(folder / "task.json", self._task(recipe, folder).to_json())
        return Child(folder / "task.json", self._log(entry), self._host.address_limit)

    def _task(self, recipe: Recipe, folder: Path) -> Task:
        where = self._materials.folder
        return Task(
            reference=self._reference,
            materials=where,
            recipe=recipe.to_json(),
            folder=folder,
            seed=self._seed,
            graphs=self._cache / GRAPHS,
            origin=self._origin,
        )

    def _prepared(self, recipe: Recipe, entry: Path, seconds: Seconds, failed: Preparation | None) -> Prepared:
        entry = entry if failed or _complete(entry) else _refusal(entry, recipe)
        touch(entry)
        preparation = failed or Preparation.from_json(read_json(entry / "prepared.json"))
        return Prepared(recipe=recipe, folder=entry, preparation=preparation, options=self._options(recipe), seconds=seconds)

    def _options(self, recipe: Recipe) -> EngineOptions:
        """Engine options act on no model, so an empty one stands in."""
        workload: Any = None
        draft = Draft(
            model=torch.nn.Identity(),
            workload=workload,
            facts=self._materials.facts,
            seed=self._seed,
            signature=self._materials.signature,
        )
        return opening(draft, recipe) if any(Moment.ENGINE in i.moments() for i in recipe) else EngineOptions()

    def _told(self, entry: Path, child: Child, problem: str) -> Preparation:
        written = _unfinished(entry) / "prepared.json"
        if not problem and written.exists():
            return Preparation.from_json(read_json(written))
        reason = problem or f"the process ended with {child.end}{self._last_words(entry)}"
        return Preparation(outcome=Outcome.FAILED, reason=reason)

    def _log(self, entry: Path) -> Path:
        return self._logs / f"prepare-{entry.name}.log"

    def _last_words(self, entry: Path) -> str:
        lines = [line for line in self._log(entry).read_text(errors="replace").splitlines() if line.strip()]
        return f": {lines[-1][:300]}" if lines else ""


def _unfinished(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}.{os.getpid()}")


def _begin(entry: Path) -> Path:
    """Return an empty folder to prepare in; process numbers come again, so one may have been left by another life."""
    folder = _unfinished(entry)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _refusal(entry: Path, recipe: Recipe) -> Path:
    """Where the reason is kept why a recipe was declined or had no effect; settings of opening can be the reason."""
    return entry.with_name(f"{entry.name}-{recipe.key}")


def _complete(entry: Path) -> bool:
    return (entry / "prepared.json").exists()
