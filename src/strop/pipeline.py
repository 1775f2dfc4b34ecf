"""A recipe's way through the moments: is it legal, walk it, lower it, and say what really happened."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop import engines
from strop.contract.card import Cost
from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine
from strop.contract.instruction import Instruction
from strop.contract.moment import Moment
from strop.contract.recipe import Recipe
from strop.contract.settings import encode
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.contract.workload import InferenceWorkload
from strop.errors import DeclinedError, MissingExtraError, PrepareError
from strop.ledger.cache import publish
from strop.ledger.files import read_json, write_json
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch import nn

    from strop.loop.loop import TrainingLoop


class Outcome(StrEnum):
    """How preparing a recipe ended."""

    PREPARED = "prepared"
    DECLINED = "declined"
    LACKS_DEPENDENCY = "lacks dependency"
    NO_EFFECT = "no effect"
    FAILED = "failed to prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What preparing a recipe gave.

    Attributes:
        outcome: how it ended.
        reason: in words, where it did not end with an artefact.
        engine: name of the engine that runs the artefact.
        tallies: instruction name → what it really changed.
        sensitivity: operator → how far its int8 answer departs, largest first; empty unless quantised.
    """

    outcome: Outcome
    reason: str = ""
    engine: str = "eager"
    tallies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sensitivity: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return {
            "outcome": self.outcome.value,
            "reason": self.reason,
            "engine": self.engine,
            "tallies": {name: dict(counts) for name, counts in self.tallies.items()},
            "sensitivity": dict(self.sensitivity),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Preparation:
        """Rebuild a preparation from :meth:`to_json`."""
        return cls(**{**row, "outcome": Outcome(row["outcome"])})


def legal(recipe: Recipe, start: frozenset[Trait]) -> str | None:
    """Say why a recipe cannot be, or return ``None``. Set algebra over ties: no model, no process.

    Args:
        recipe: the set of instructions.
        start: traits the workload brings.
    """
    tied = [(f"{i.number:02d} {i.name}", i.ties()) for i in recipe]
    present = start.union(*(t.adds for _, t in tied))
    if Trait.ENGINE not in present:
        present |= engines.get("eager").adds
    for name, its in tied:
        missing = sorted(its.needs - present)
        if missing:
            return f"{name} needs {' and '.join(missing)}, which nothing in the recipe adds"
        for other, others in tied:
            clash = sorted(its.excludes & others.adds) if other != name else []
            if clash:
                return f"{name} excludes {other}: both bring {' and '.join(clash)}"
        clash = sorted(its.excludes & start)
        if clash:
            return f"{name} cannot be used with {' and '.join(clash)}"
    return None


WEIGHTS, TALLIES = "weights.safetensors", "tallies.json"
"""What training gave, and what instructions had counted when it ended."""

CHANGED = "changed.json"
"""What an engine changed by itself when it converted a graph that recipes share."""

TRAINING_ONLY = frozenset({Moment.RECOMPUTE, Moment.COMPILE, Moment.WRAP, Moment.OPTIMIZE, Moment.LOOP})
"""Moments that pass unused where nothing is trained."""


def walk(
    draft: Draft,
    recipe: Recipe,
    until: Moment,
    *,
    since: Moment = Moment.DATA,
    tallies: dict[str, Tally] | None = None,
) -> dict[str, Tally]:
    """Let the instructions act on the draft, moment by moment.

    Args:
        draft: acted on.
        recipe: who acts.
        until: the last moment.
        since: the first moment.
        tallies: those of an earlier walk, to be counted on.

    Returns:
        Instruction name → its tally.
    """
    tallies = {instruction.name: Tally() for instruction in recipe} if tallies is None else tallies
    for moment in Moment:
        if not since <= moment <= until or (moment in TRAINING_ONLY and draft.training is None):
            continue
        order = reversed(recipe.instructions) if moment is Moment.FINISH else iter(recipe.instructions)
        for instruction in order:
            act = getattr(instruction, moment.method, None)
            if act is not None and not (moment in TRAINING_ONLY and _is_guest(instruction, draft)):
                act(draft, tallies[instruction.name])
    return tallies


def _is_guest(instruction: Instruction, draft: Draft) -> bool:
    """Tell whether the training is another's: within an inference workload only those train that came to, or each of the
    others would ask for a training of its own."""
    return isinstance(draft.workload, InferenceWorkload) and instruction.card.cost is not Cost.FIT


def prepare(
    draft: Draft,
    recipe: Recipe,
    host: Host,
    folder: Path,
    graph: Callable[[str], Path] | None = None,
    fitted: Path | None = None,
) -> Preparation:
    """Walk the recipe and lower the draft into ``folder``.

    Args:
        draft: the trial's private state.
        recipe: what to do to it.
        host: the machine.
        folder: where the artefact goes.
        graph: gives, for an engine's name, the folder in which recipes share that engine's converted graph; it is filled
            here if it does not exist. ``None``: nothing is shared.
        fitted: the folder in which recipes share what training gives, filled here likewise.

    Whatever goes wrong becomes an outcome with a reason; only errors outside of strop's and the back ends' control
    (memory exhausted, interrupt) leave as exceptions.
    """
    for instruction in recipe:
        reason = instruction.decline(draft, host)
        if reason:
            return Preparation(outcome=Outcome.DECLINED, reason=f"{instruction.name}: {reason}")
    try:
        tallies = walk(draft, recipe, Moment.LOOP)
        if draft.training is not None:
            tallies = _fitted(draft, tallies, fitted)
        walk(draft, recipe, Moment.LOWER, since=Moment.FINISH, tallies=tallies)
        engine = engines.get(draft.engine)
        if not engine.available():
            raise MissingExtraError(f"engine {engine.name}", engine.extra or engine.name)
        reason = engine.decline(draft, host)
        if reason:
            return Preparation(outcome=Outcome.DECLINED, reason=reason, engine=engine.name)
        folder.mkdir(parents=True, exist_ok=True)
        engine.lower(draft, folder, _shared(engine, draft, graph(engine.name)) if graph and engine.converts else None)
    except MissingExtraError as error:
        return Preparation(outcome=Outcome.LACKS_DEPENDENCY, reason=str(error), engine=draft.engine)
    except PrepareError as error:
        return Preparation(outcome=Outcome.FAILED, reason=str(error), engine=draft.engine)
    return told(draft, recipe, engine.name, tallies)


def train(
    draft: Draft, recipe: Recipe, host: Host, *, run: Callable[[TrainingLoop], None] | None = None, device: str = "cpu"
) -> Preparation:
    """Walk the recipe, train once, and undo what was only put on for training; the trained model is the draft's.

    Args:
        draft: of a training workload.
        recipe: what to do to it.
        host: the machine.
        run: carries the training out; it may continue, watch or cut it short. ``None``: from beginning to end.
        device: as torch writes it.

    Errors of the training itself leave as they are; an instruction that declines becomes the outcome before any work.
    """
    try:
        tallies = begin_training(draft, recipe, host)
    except DeclinedError as error:
        return Preparation(outcome=Outcome.DECLINED, reason=str(error))
    except MissingExtraError as error:
        return Preparation(outcome=Outcome.LACKS_DEPENDENCY, reason=str(error))
    _fit(draft, run, device)
    walk(draft, recipe, Moment.FINISH, since=Moment.FINISH, tallies=tallies)
    return told(draft, recipe, draft.engine, tallies)


def settle(draft: Draft, recipe: Recipe, host: Host) -> Preparation:
    """Let a recipe settle how a bundle is served; the outcome is on the draft's ``service``.

    Args:
        draft: of a serving workload.
        recipe: what to do to it.
        host: the machine.
    """
    for instruction in recipe:
        reason = instruction.decline(draft, host)
        if Moment.SERVE not in instruction.moments():
            reason = "it acts when the bundle is made, and this one is made already"
        if reason:
            return Preparation(outcome=Outcome.DECLINED, reason=f"{instruction.name}: {reason}")
    tallies = walk(draft, recipe, Moment.SERVE, since=Moment.SERVE)
    idle = [name for name, tally in tallies.items() if tally.total == 0]
    return Preparation(
        outcome=Outcome.NO_EFFECT if idle else Outcome.PREPARED,
        reason=f"{', '.join(idle)} changed nothing in how the bundle is served" if idle else "",
        tallies={name: tally.to_json() for name, tally in tallies.items()},
    )


def begin_training(draft: Draft, recipe: Recipe, host: Host) -> dict[str, Tally]:
    """Let the instructions act on the draft up to LOOP, so that a loop over it can be entered; return their tallies.

    Raises:
        DeclinedError: an instruction does not fit this model or machine; nothing was done.
        MissingExtraError: one needs a package that is not installed.
    """
    for instruction in recipe:
        reason = instruction.decline(draft, host) or _absent(instruction)
        if reason:
            raise DeclinedError(f"{instruction.name}: {reason}")
    return walk(draft, recipe, Moment.LOOP)


def _absent(instruction: Instruction) -> str | None:
    if all(moment > Moment.FINISH for moment in instruction.moments()):
        return "it acts when a trained model is lowered for inference, which a training run does not do"
    return None


def _fit(draft: Draft, run: Callable[[TrainingLoop], None] | None, device: str) -> None:
    from strop.loop.loop import TrainingLoop

    assert draft.training is not None
    with TrainingLoop(draft.model, draft.training, seed=draft.seed, device=device) as loop:
        (run or TrainingLoop.run)(loop)


def _fitted(draft: Draft, tallies: dict[str, Tally], folder: Path | None) -> dict[str, Tally]:
    """Train, or take the weights and tallies over from the first recipe that trained in the same way."""
    from safetensors.torch import load_model

    from strop.loop.checkpoint import save_weights

    if folder is None:
        _fit(draft, None, draft.device)
        return tallies
    if not folder.exists():
        _fit(draft, None, draft.device)
        with unfinished(folder) as place:
            save_weights(draft.model, place / WEIGHTS)
            write_json(place / TALLIES, {name: tally.to_json() for name, tally in tallies.items()})
        return tallies
    load_model(draft.model, str(folder / WEIGHTS))
    kept = read_json(folder / TALLIES)
    return {name: Tally(kept.get(name, {})) for name in tallies}


def _shared(engine: Engine, draft: Draft, graph: Path) -> Path:
    """Return the folder with the converted graph; the first process to need it converts."""
    if not graph.exists():
        with unfinished(graph) as place:
            engine.convert(draft, place)
            write_json(place / CHANGED, draft.lowering.to_json())
    draft.lowering = Tally(read_json(graph / CHANGED))
    return graph


@contextlib.contextmanager
def unfinished(entry: Path) -> Iterator[Path]:
    """Fill an empty folder inside; it becomes ``entry`` if that ends well, and is gone otherwise."""
    place = entry.with_name(f".{entry.name}.{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)  # of a killed process that had the same number
    place.mkdir(parents=True)
    try:
        yield place
        publish(place, entry)
    finally:
        shutil.rmtree(place, ignore_errors=True)  # what a failure left; what ended well has moved


def told(draft: Draft, recipe: Recipe, engine: str, tallies: Mapping[str, Tally]) -> Preparation:
    """Turn tallies into the outcome: an instruction that acts before ENGINE and changed nothing had no effect.

    What the engine changed by itself counts for the instruction that chose it.
    """
    for instruction in recipe:
        if Trait.ENGINE in instruction.ties().adds:
            for what, count in draft.lowering.to_json().items():
                tallies[instruction.name].add(what, count)
    idle = [
        i.name for i in recipe if any(m <= Moment.LOWER for m in i.moments()) and tallies[i.name].total == 0 and not i.card.pinned
    ]
    if idle:
        return Preparation(
            outcome=Outcome.NO_EFFECT,
            reason=f"{', '.join(idle)} changed nothing in this model",
            engine=engine,
            tallies={name: tally.to_json() for name, tally in tallies.items()},
        )
    return Preparation(
        outcome=Outcome.PREPARED,
        engine=engine,
        tallies={name: tally.to_json() for name, tally in tallies.items()},
        sensitivity=draft.quantization.sensitivity if draft.quantization else {},
    )


def opening(draft: Draft, recipe: Recipe) -> EngineOptions:
    """Return the options with which the recipe's artefact is opened; acts on the draft's options only."""
    for instruction in recipe:
        act = getattr(instruction, Moment.ENGINE.method, None)
        if act is not None:
            act(draft, Tally())
    return draft.engine_options


def rebuild(draft: Draft, recipe: Recipe) -> nn.Module:
    """Build the model of a recipe in code, up to FREEZE; for engines whose artefact needs the model's own source."""
    walk(draft, recipe, Moment.FREEZE)
    return draft.model


def artefact_key(recipe: Recipe, origin: Mapping[str, Any]) -> str:
    """Return the content hash under which a recipe's artefact is cached.

    Covers what the artefact depends on: the origin (workload file and its local imports, data, weights, library
    versions, host instruction set, seed), and for each instruction that acts up to LOWER its settings and its file.
    Settings that matter only when the artefact is opened do not count.
    """
    return _content_hash(recipe, Moment.LOWER, origin)


def graph_key(recipe: Recipe, engine: str, origin: Mapping[str, Any]) -> str:
    """Return the content hash of the graph that ``engine`` converts: of the recipe, only what changes the model counts."""
    return _content_hash(recipe, Moment.FREEZE, {**origin, "engine": engine})


def fit_key(recipe: Recipe, origin: Mapping[str, Any]) -> str:
    """Return the content hash under which recipes share what training gives: only what acts before it ends counts."""
    return _content_hash(recipe, Moment.LOOP, {**origin, "fitted": True})


def fits(recipe: Recipe) -> bool:
    """Tell whether preparing a recipe trains."""
    return any(instruction.card.cost is Cost.FIT for instruction in recipe)


def _content_hash(recipe: Recipe, until: Moment, origin: Mapping[str, Any]) -> str:
    parts = []
    for instruction in recipe:
        idle = frozenset[Moment]() if instruction.card.cost is Cost.FIT else TRAINING_ONLY
        if any(moment <= until and moment not in idle for moment in instruction.moments()):
            settings = {k: v for k, v in encode(instruction).items() if k not in instruction.opening}
            # The whole file where there is one: its constants and helpers act too.
            file = Path(inspect.getsourcefile(type(instruction)) or "")
            source = file.read_bytes() if file.is_file() else inspect.getsource(type(instruction)).encode()
            parts.append([instruction.name, settings, hashlib.sha256(source).hexdigest()])
    text = json.dumps([parts, dict(origin)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
