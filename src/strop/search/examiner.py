"""Judges answers: is a candidate's output sane at all, and does its quality hold against the original?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from strop.contract.card import Fidelity
from strop.contract.examples import read_examples
from strop.contract.pytree import flatten, to_numpy
from strop.contract.quality import MaxDrop, scores
from strop.contract.workload import InferenceWorkload
from strop.errors import MeasureError, WorkloadError, WrongAnswersError
from strop.ledger.guard import record_corpus, record_scores
from strop.ledger.ledger import Ledger
from strop.search.bench import Bench, Seat
from strop.trial.materials import Materials
from strop.units import Ratio, Seconds

ORIGINAL = "original"
"""Whose answers the others are compared with; names their files."""

SANE_INPUTS = 16
"""Inputs compared with the original before a candidate is timed."""

TOLERANCE: Mapping[Fidelity, Ratio] = {Fidelity.EXACT: 1e-6, Fidelity.ROUNDING: 2e-2, Fidelity.LOSSY: 0.9}
"""Largest relative distance ``|candidate − original| / |original|`` (Euclidean, per array) by the worst fidelity on the cards.

Unrelated answers of equal size are at a distance of about 1.4, so even a lossy candidate must stay nearer than 0.9.
"""

HUGE = 1e30
"""Numbers beyond it stand for an excluded answer, as infinite ones do: beside them nothing else would count."""

EVALUATION_TIMEOUT: Seconds = 600.0
"""What answering a split may take where it is not known how long the original takes, and the original itself at least."""

PATIENCE, LEAST_PATIENCE = 10.0, 60.0
"""A candidate that takes so many times as long as the original for the same inputs, and so many seconds more, is stopped."""

T = TypeVar("T")


class Examiner:
    """Evaluates arms on the workload's splits.

    Args:
        workload: labels and quality measure.
        materials: inputs on disk.
        ledger: where scores are kept.
        bench: lets arms answer, untimed.
        max_drop: the quality budget.
        alpha: one-sided error probability of the guard.
        longest: seconds that the original may take to answer a split.

    Attributes:
        pace: name of whose answers → seconds it took for each input of a whole split, once it answered one.
    """

    def __init__(
        self,
        workload: InferenceWorkload,
        materials: Materials,
        ledger: Ledger,
        bench: Bench,
        max_drop: MaxDrop,
        alpha: float,
        *,
        longest: Seconds = EVALUATION_TIMEOUT,
    ) -> None:
        self._workload, self._materials, self._ledger, self._bench = workload, materials, ledger, bench
        self._max_drop, self._alpha = max_drop, alpha
        self._longest = max(longest, EVALUATION_TIMEOUT)
        self._took: dict[tuple[str, int], Seconds] = {}
        self.pace: dict[str, Seconds] = {}

    def answer(self, seat: Seat, split: str, name: str, first: int = 0) -> Path:
        """Let an arm answer a split (or the points' inputs when there is none); return the file of its answers."""
        answers = self._ledger.folder / "answers" / f"{name}-{split}{f'-{first}' if first else ''}.safetensors"
        if not answers.exists():
            inputs = (
                self._materials.split_file(split)
                if split in self._workload.splits
                else self._materials.point_file(self._materials.points[0])
            )
            arguments = {"inputs": str(inputs), "answers": str(answers), "first": first}
            begun = time.monotonic()
            self._bench.call(seat, "evaluate", arguments, self._patience(name, split, first))
            took = time.monotonic() - begun
            if name == ORIGINAL:
                self._took[split, first] = took
            if split in self._workload.splits and not first:
                self.pace[name] = took / len(self._workload.splits[split].inputs)
        return answers

    def _patience(self, name: str, split: str, first: int) -> Seconds:
        took = self._took.get((split, first), self._longest)
        return self._longest if name == ORIGINAL else min(self._longest, LEAST_PATIENCE + PATIENCE * took)

    def insane(self, original: Seat, candidate: Seat, fidelity: Fidelity) -> str | None:
        """Say what is plainly wrong with a candidate's answers, or return ``None``."""
        wanted = read_examples(self.answer(original, "screening", ORIGINAL, SANE_INPUTS))
        got = read_examples(self.answer(candidate, "screening", candidate.prepared.recipe.key, SANE_INPUTS))
        return compare_answers(wanted, got, TOLERANCE[fidelity])

    def examine(self, split: str, original: Seat, candidate: Seat, alpha: float | None = None) -> dict[str, Any] | None:
        """Judge a candidate's quality on a split, at ``alpha`` or the run's own; ``None`` when the workload claims none."""
        quality = self._workload.quality
        if quality.unjudged:
            return None
        before = read_examples(self.answer(original, split, ORIGINAL))
        after = read_examples(self.answer(candidate, split, candidate.prepared.recipe.key))
        data = self._workload.splits[split]
        labels = before if quality.against_original else list(data.labels or ())
        name = f"{candidate.prepared.recipe.key}-{split}"
        settings: dict[str, Any] = {"metric": quality.name, "higher_is_better": quality.higher_is_better}
        settings["alpha"] = self._alpha if alpha is None else alpha
        if quality.metric is not None:
            values = self._corpus(before, labels), self._judged(self._corpus, after, labels)
            margin = self._max_drop.margin(values[0])
            resampled = partial(_resampled, quality.metric, before, after, labels)
            try:
                return record_corpus(self._ledger, name, resampled, len(before), sources=data.sources, margin=margin, **settings)
            except WrongAnswersError:
                raise
            except MeasureError as error:  # of the data, whatever is judged on them
                raise WorkloadError(f"the {split} split cannot be judged: {error}.") from error
        ours = scores(quality, before, labels)
        _refuse_nan(quality.name, ours)
        theirs = self._judged(lambda answers, truth: scores(quality, answers, truth), after, labels)
        if theirs.shape != ours.shape or not np.isfinite(theirs).all():
            raise WrongAnswersError(f"quality {quality.name!r} gives NaN, infinity or another number of scores for its answers")
        sources = None
        if data.sources is not None:  # one source per example, where an input is a batch of several
            counts = [len(scores(quality, [answer], [label])) for answer, label in zip(before, labels, strict=True)]
            sources = [str(source) for source, count in zip(data.sources, counts, strict=True) for _ in range(count)]
        margin = self._max_drop.margin(float(ours.mean()))
        return record_scores(self._ledger, name, ours.tolist(), theirs.tolist(), sources=sources, margin=margin, **settings)

    def _judged(self, measure: Callable[[list[Any], list[Any]], T], answers: list[Any], labels: list[Any]) -> T:
        try:
            return measure(answers, labels)
        except Exception as error:  # the user's own measure, on answers that it was not written for
            message = f"quality {self._workload.quality.name!r} fails on its answers: {type(error).__name__}: {error}"
            raise WrongAnswersError(message) from error

    def _corpus(self, answers: list[Any], labels: list[Any]) -> float:
        metric = self._workload.quality.metric
        value = float(metric(answers, labels)) if metric else float("nan")
        _refuse_nan(self._workload.quality.name, np.asarray([value]))
        return value


def compare_answers(wanted: Sequence[Any], got: Sequence[Any], tolerance: Ratio) -> str | None:
    """Say how answers depart from the original's beyond ``tolerance``, or return ``None``.

    The distance of an output is taken over all answers together: a single answer near zero, as logits of an undecided
    classifier are, departs by much from itself and tells nothing.
    """
    sizes: dict[int, list[float]] = {}
    for number, (ours, theirs) in enumerate(zip(wanted, got, strict=True)):
        (left, tree), (right, other) = flatten(ours), flatten(theirs)
        if tree != other:
            return f"on evaluation input {number}, the structure of the answer changed"
        for output, (a, b) in enumerate(zip(map(to_numpy, left), map(to_numpy, right), strict=True)):
            if a.shape != b.shape:
                return (
                    f"on evaluation input {number}, output {output} has shape {list(b.shape)}, the original's has {list(a.shape)}"
                )
            a, b = a.astype(np.float64), b.astype(np.float64)
            usual = _usual(a)
            if not np.array_equal(usual, _usual(b)) or not np.array_equal(np.sign(a[~usual]), np.sign(b[~usual]), equal_nan=True):
                where = "the original's does not" if usual.all() else "in other places than the original's"
                return f"on evaluation input {number}, output {output} holds NaN or infinity, {where}"
            sums = sizes.setdefault(output, [0.0, 0.0])
            sums[0] += float(np.square(b[usual] - a[usual]).sum())
            sums[1] += float(np.square(a[usual]).sum())
    for output, (difference, size) in sizes.items():
        distance = math.sqrt(difference / size) if size else math.sqrt(difference)
        if distance > tolerance:
            return f"output {output} is {distance:.2g} away from the original's (relative distance; allowed {tolerance:g})"
    return None


def _usual(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.abs(values) < HUGE  # not so: infinity, and NaN


def _resampled(metric: Any, before: list[Any], after: list[Any], labels: list[Any], chosen: Any) -> tuple[float, float]:
    picked = [labels[i] for i in chosen]
    return _or_nan(metric, [before[i] for i in chosen], picked), _or_nan(metric, [after[i] for i in chosen], picked)


def _or_nan(metric: Any, answers: list[Any], labels: list[Any]) -> float:
    """Return NaN where a metric that gave a number for all examples fails on some, as it may where a class is missing."""
    try:
        return float(metric(answers, labels))
    except (ValueError, ArithmeticError):
        return math.nan


def _refuse_nan(name: str, values: np.ndarray[Any, Any]) -> None:
    if not np.isfinite(values).all():
        raise WorkloadError(
            f"quality {name!r} gives NaN or infinity for the original model itself, so nothing can be judged by it. "
            f"Check the metric and the labels."
        )
