"""The page of one training: what was asked, how the loss went, what the result is worth, what each instruction did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from strop.report.html import POLICY
from strop.report.markup import figure, table, typeset
from strop.report.plots import curve
from strop.report.style import CSS
from strop.report.tables import Cell, Table
from strop.units import NOT_MEASURED, show_number, show_rate, show_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One optimizer step.

    Attributes:
        step: its number, from 1.
        epoch: the epoch it lies in, from 1.
        loss: mean over its items.
        rate: learning rate it was taken with, of the first parameter group.
        samples: how many.
        seconds: time it took.
        waiting: the part of it before the first forward, in which its samples were fetched and collated.
        taken: whether the optimizer moved; otherwise it was vetoed or overflowed.
        norm: gradient norm before clipping, where something clips.
    """

    step: int
    epoch: int
    loss: float
    rate: float
    samples: int
    seconds: float
    waiting: float = 0.0
    taken: bool = True
    norm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training was and gave.

    Attributes:
        name: of the workload.
        version: of strop.
        started: date and time as text.
        status: ``trained``, ``interrupted``, ``diverged`` or ``failed``.
        reason: why, where it is not ``trained``.
        planned: optimizer steps planned.
        steps: those done.
        metric: name of the metric; empty where none is judged.
        before: its value on the confirming split before training.
        after: and after.
        screening: epoch → its value on the screening split.
        recipe: as YAML.
        tallies: instruction → what it changed.
        weights: file of the trained weights, relative to the run; empty where none were written.
        reference: of the workload; empty for a live one.
        machine: the accelerator or the processor that trained.
    """

    name: str
    version: str
    started: str
    status: str
    reason: str = ""
    planned: int
    steps: tuple[StepRow, ...]
    metric: str = ""
    before: float | None = None
    after: float | None = None
    screening: Mapping[int, float] = field(default_factory=dict)
    recipe: str = ""
    tallies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    weights: str = ""
    reference: str = ""
    machine: str = ""

    @property
    def seconds(self) -> float:
        """Time spent in steps."""
        return sum(row.seconds for row in self.steps)

    @property
    def speed(self) -> float:
        """Samples per second, over the time spent in steps."""
        return sum(row.samples for row in self.steps) / self.seconds if self.steps else float("nan")

    @property
    def waiting(self) -> float:
        """Share of the time spent in steps that went by waiting for data."""
        return sum(row.waiting for row in self.steps) / self.seconds if self.seconds else float("nan")

    @property
    def loss(self) -> float:
        """Running mean of the loss in the end."""
        return curve.running_mean([row.loss for row in self.steps])[-1] if self.steps else float("nan")


def headline(report: TrainingReport) -> str:
    """Say in one sentence what came of it."""
    done = f"{len(report.steps)} of {report.planned} steps"
    if report.status != "trained":
        return f"{report.status.capitalize()} after {done}" + (f": {report.reason}" if report.reason else "")
    if report.before is None or report.after is None:
        return f"Trained for {done}; the loss is {show_number(report.loss)}. Quality was not judged"
    return f"Trained for {done}: {report.metric} went from {show_number(report.before)} to {show_number(report.after)}"


def summary(report: TrainingReport) -> Table:
    """The run in rows."""
    rows = {
        "Status": report.status,
        "Steps": f"{len(report.steps)} of {report.planned}",
        "Loss, running mean": show_number(report.loss),
        "Trained on": report.machine or NOT_MEASURED,
        "Time in steps": show_seconds(report.seconds),
        "Waiting for data": f"{100 * report.waiting:.1f} % of it" if report.steps else NOT_MEASURED,
        "Speed": show_rate(report.speed, "samples/s"),
        f"{report.metric or 'Metric'} before": show_number(report.before) if report.before is not None else NOT_MEASURED,
        f"{report.metric or 'Metric'} after": show_number(report.after) if report.after is not None else NOT_MEASURED,
        "Steps not taken": str(sum(not row.taken for row in report.steps)),
        "Weights": report.weights or "none written",
    }
    return Table(title="Run", columns=("", ""), rows=tuple((Cell(name), Cell(value)) for name, value in rows.items()))


def render_training(report: TrainingReport) -> str:
    """Return the whole page, self-contained; everything that came from outside is escaped."""
    marks = _marks(report)
    plot = curve.draw([row.step for row in report.steps], [row.loss for row in report.steps], marks)
    caption = "Thin: each step. Bold: running mean. Diamonds: ends of epochs that were judged."
    counts = [(Cell(name), Cell(", ".join(f"{what}: {n}" for what, n in c.items()))) for name, c in report.tallies.items()]
    effects = Table(
        title="What each instruction changed", columns=("Instruction", "Changes"), rows=tuple(counts), empty="no recipe"
    )
    judged = Table(
        title="Screening split",
        columns=("Epoch", report.metric or "Metric"),
        rows=tuple((Cell(str(epoch)), Cell(show_number(value))) for epoch, value in sorted(report.screening.items())),
    )
    recipe = f"<pre>{escape(report.recipe)}</pre>" if report.recipe else '<p class="muted">no recipe: as the workload says</p>'
    sections = [
        ("Loss", figure(plot, caption, "Loss curve")),
        ("Result", table(summary(report))),
        ("After each epoch", table(judged)),
        ("What each instruction changed", table(effects)),
        ("The recipe", recipe),
    ]
    body = "".join(f"<section><h2>{title}</h2>{content}</section>\n" for title, content in sections)
    about = f"Workload: {report.reference or 'a live object, so this run cannot be repeated from its files alone'}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.name)} · strop training</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="kicker">{escape(f"strop {report.version} · {report.started}")}</p><h1>{escape(report.name)}</h1>'
        f'<p class="headline">{typeset(headline(report))}</p><p class="about">{typeset(about)}</p></header>\n'
        f"{body}<footer><p>One training, not a comparison: nothing here says that another recipe would have been worse.</p>"
        "</footer>\n</main>\n</body>\n</html>\n"
    )


def _marks(report: TrainingReport) -> Sequence[tuple[int, str]]:
    last = {row.epoch: row.step for row in report.steps}
    return [(last[epoch], f"epoch {epoch}: {show_number(value)}") for epoch, value in report.screening.items() if epoch in last]
