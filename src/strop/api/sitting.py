"""One sitting of a training: from its start, or a checkpoint, to its end, an interrupt or an error; always with a report."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from strop import __version__
from strop.api.run import open_ledger
from strop.api.train_record import Interval, StepRecord, interrupts, rows_until
from strop.catalogue import write_recipe
from strop.contract.draft import Draft
from strop.contract.examples import digest
from strop.contract.loop_event import LoopEvent
from strop.contract.pytree import flatten
from strop.contract.recipe import Recipe
from strop.contract.training import Training
from strop.contract.workload import Split, TrainingWorkload
from strop.errors import PrepareError, StropError, TrainingError, UsageError, WorkloadError
from strop.ledger.files import write_atomic, write_json
from strop.ledger.ledger import Ledger
from strop.loop.checkpoint import Checkpoints, save_weights
from strop.loop.evaluate import evaluate
from strop.loop.loop import TrainingLoop
from strop.loop.ranks import device, place
from strop.measure.host import read_host
from strop.observe import Event, JsonlSink, Level, Observer, silent, tee
from strop.pipeline import Outcome, Preparation, train
from strop.report.training import TrainingReport, headline, render_training
from strop.units import show_number

WEIGHTS = "model.safetensors"
INTERRUPTED = "interrupted"


@dataclass(kw_only=True)
class Sitting:
    """A training that is about to be carried out.

    Attributes:
        draft: of the workload, untouched by instructions yet.
        workload: the draft's.
        recipe: what to do to it.
        folder: the run directory.
        plan: what was asked.
        resume: go on from the latest checkpoint.
        interval: between checkpoints.
        observer: told what happens.
    """

    draft: Draft
    workload: TrainingWorkload
    recipe: Recipe
    folder: Path
    plan: dict[str, Any]
    resume: bool
    interval: Interval
    observer: Observer
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _ledger: Ledger | None = None
    _record: StepRecord | None = None
    _values: dict[str, float] = field(default_factory=dict)
    _planned: int = 0
    _stopped: str = ""

    @property
    def training(self) -> Training:
        """What the draft says about its training."""
        assert self.draft.training is not None
        return self.draft.training

    def carry_out(self) -> TrainingReport:
        """Train, and write what there is to write.

        Raises:
            StropError: training could not begin or go on; in the latter case the report says so too.
        """
        with self._stack:
            try:
                done = train(self.draft, self.recipe, read_host(accelerators=True), run=self._go, device=device())
                if done.outcome in (Outcome.DECLINED, Outcome.LACKS_DEPENDENCY):
                    raise PrepareError(f"{self.recipe}: {done.outcome.value}: {done.reason}")
            except StropError as error:
                with contextlib.suppress(StropError):  # a disk that is full holds no report either; the first error says so
                    self._report("failed", str(error))
                raise
            return self._end(done)

    def _go(self, loop: TrainingLoop) -> None:
        world = place().world
        if world != self.training.world:
            raise UsageError(
                f"{world} processes were started, but the recipe trains on {self.training.world}; add distributed_data_parallel "
                f"to it, or start one process."
            )
        self._open()
        self._planned, told = loop.total, self._told()
        checkpoints = Checkpoints(self.folder / "checkpoints", self._identity(loop), self.training.rank)
        record = self._record = StepRecord(told, checkpoints, self.interval)
        state = checkpoints.latest() if self.resume else None
        if state is not None:
            loop.load_state_dict(state)
            record.rows = rows_until(loop.step, self.folder / "events.jsonl")
        record.follow(self.training)
        self.training.on(LoopEvent.EPOCH_END, lambda _: self._judge(loop, f"epoch {loop.epoch + 1}", self.workload.screening))
        self._judge(loop, "before", self.workload.confirming)
        told(Event("train.started", data={"total": loop.total, "step": loop.step}))
        with interrupts(lambda: loop.stop(INTERRUPTED)):
            try:
                loop.run()
            except StropError:
                raise
            except Exception as error:
                raise TrainingError(f"step {loop.step + 1} failed: {type(error).__name__}: {error}") from error
            record.save(loop)
        self._stopped = loop.stopped
        if loop.stopped != INTERRUPTED:
            self._judge(loop, "after", self.workload.confirming)

    def _open(self) -> None:
        """Open the run directory; only now, so that whatever is refused before leaves none behind."""
        if self.training.rank == 0:
            self._ledger = self._stack.enter_context(open_ledger(self.folder, self.plan, resume=self.resume))

    def _told(self) -> Observer:
        return tee(JsonlSink(self.folder / "events.jsonl"), self.observer) if self._ledger is not None else silent

    def _judge(self, loop: TrainingLoop, key: str, split: Split) -> None:
        """Judge a split once; a later sitting finds the value in the ledger."""
        if self.workload.metric.unjudged or not len(split.inputs):
            return

        def compute() -> float:
            return evaluate(loop, self.workload.metric, split)

        if self.training.world > 1:  # every rank computes, for a model that is spread over them can be asked by all together only
            found = compute()
            value = self._ledger.step(f"metric {key}", lambda: found) if self._ledger is not None else found
        else:
            value = self._ledger.step(f"metric {key}", compute) if self._ledger is not None else compute()
        self._values[key] = value
        self._told()(Event("train.metric", f"{self.workload.metric.name} {key}: {show_number(value)}", Level.RESULT))

    def _identity(self, loop: TrainingLoop) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued from."""
        form = [(name, str(value.dtype), tuple(value.shape)) for name, value in loop.model.state_dict().items()]
        return {
            "model": hashlib.sha256(repr(form).encode()).hexdigest()[:12],
            "data": f"{len(self.training.data)} samples, {_mark(self.training)}",
            "world size": self.training.world,
            "recipe": str(self.recipe),
            "seed": self.draft.seed,
            "steps": loop.total,
        }

    def _end(self, done: Preparation) -> TrainingReport:
        if self._stopped == INTERRUPTED:
            return self._report(INTERRUPTED, "continue with --resume", done.tallies)
        if not self._sound():
            return self._report("diverged", "the loss or a weight is not a finite number; no weights were written", done.tallies)
        if self._ledger is not None:
            save_weights(self.draft.model, self.folder / WEIGHTS)
        if done.outcome is Outcome.NO_EFFECT:
            self._told()(Event("train.no_effect", done.reason, Level.WARNING))
        return self._report("trained", done.reason or self._stopped, done.tallies)

    def _sound(self) -> bool:
        rows = self._record.rows if self._record is not None else []
        weights = (value for value in self.draft.model.state_dict().values() if value.is_floating_point())
        return (not rows or math.isfinite(rows[-1].loss)) and all(bool(torch.isfinite(value).all()) for value in weights)

    def _report(self, status: str, reason: str, tallies: Mapping[str, Mapping[str, int]] | None = None) -> TrainingReport:
        rows = tuple(self._record.rows) if self._record is not None else ()
        report = TrainingReport(
            name=str(self.plan["name"]),
            version=__version__,
            started=datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds"),
            status=status,
            reason=reason,
            planned=self._planned,
            steps=rows,
            metric="" if self.workload.metric.unjudged else self.workload.metric.name,
            before=self._values.get("before"),
            after=self._values.get("after"),
            screening={int(k.split()[1]): v for k, v in self._values.items() if k.startswith("epoch ")},
            recipe=write_recipe(self.recipe) if len(self.recipe) else "",
            tallies=tallies or {},
            weights=WEIGHTS if status == "trained" else "",
            reference=str(self.plan["reference"]),
            machine=_machine(),
        )
        if self._ledger is not None:
            facts = {name: value for name, value in asdict(report).items() if name != "steps"}
            facts |= {"steps": len(rows), "loss": _number(report.loss), "seconds": report.seconds, "speed": _number(report.speed)}
            facts["waiting"] = _number(report.waiting)
            write_json(self.folder / "result.json", facts)
            write_atomic(self.folder / "report.html", render_training(report).encode())
            ended = "run.interrupted" if status == INTERRUPTED else "run.finished"
            self._told()(Event(ended, f"{headline(report)}.", Level.RESULT if status == "trained" else Level.WARNING))
        return report


def _machine() -> str:
    """Name what trains: this process's accelerator, or the processor."""
    where = device()
    return read_host().cpu if where == "cpu" else torch.cuda.get_device_name(where)


def _mark(training: Training) -> str:
    """Return a digest of the first and the last sample, where a batch of them is made of arrays."""
    batch = training.collate([training.data[0], training.data[len(training.data) - 1]])
    try:
        flatten(batch)
    except WorkloadError:
        return "not digested"
    return digest(batch)[:12]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
