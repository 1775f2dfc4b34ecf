"""How a workload says what a good answer is, and how much of it may be lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strop.contract.pytree import flatten, to_numpy
from strop.errors import UsageError, WorkloadError

Score = Callable[[Any, Any], Any]
"""``(answer, label) -> number or array``: the score of each example in one answer."""

Metric = Callable[[Sequence[Any], Sequence[Any]], float]
"""``(answers, labels) -> number``: one value for a whole evaluation set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A quality measure: per-example scores, or one number for the whole set.

    Build it with :func:`accuracy`, :func:`agreement`, :func:`overlap`, :func:`per_example` or :func:`corpus_metric`.

    Attributes:
        name: shown in reports.
        score: per-example score, or ``None``.
        metric: whole-set metric, or ``None``.
        higher_is_better: direction.
        against_original: labels are the original model's own answers.
        unjudged: why no quality is claimed at all; reports then say "speed only".
    """

    name: str
    score: Score | None = None
    metric: Metric | None = None
    higher_is_better: bool = True
    against_original: bool = False
    unjudged: str = ""


def accuracy(name: str = "accuracy") -> Quality:
    """Share of examples whose largest output equals the label. The first array of the answer holds ``(batch, classes)``."""
    return Quality(name=name, score=lambda answer, label: _same(_top1(answer), to_numpy(label)))


def agreement(name: str = "agreement with the original") -> Quality:
    """Share of examples whose largest output is at the same place as the original model's. Needs no labels."""
    return Quality(name=name, score=lambda answer, original: _same(_top1(answer), _top1(original)), against_original=True)


def overlap(name: str = "probability in common with the original") -> Quality:
    """Probability that the answer's classes have in common with the original's: ``Σ min(p, q)``, 1 less the total variation.

    ``p`` and ``q`` are the softmax of the first array of each answer, logits of shape ``(batch, classes)``. Needs no labels,
    and few examples: every answer that moves counts by how far it moved, and not only one that moved across a boundary.
    """
    return Quality(name=name, score=_overlap, against_original=True)


def per_example(score: Score, *, name: str, higher_is_better: bool = True) -> Quality:
    """A score per example; scores that are all 0 or 1 are judged as proportions, others by their paired differences."""
    return Quality(name=name, score=score, higher_is_better=higher_is_better)


def corpus_metric(metric: Metric, *, name: str, higher_is_better: bool = True) -> Quality:
    """One number for the whole evaluation set (F1, BLEU, mAP …), judged by a paired bootstrap."""
    return Quality(name=name, metric=metric, higher_is_better=higher_is_better)


def unjudged(reason: str) -> Quality:
    """Claim nothing about quality, for instance because the weights are random; every report will say so.

    Outputs are still compared with the original's, so that plainly wrong ones are refused.
    """
    return Quality(name="not judged", unjudged=reason)


@dataclass(frozen=True, slots=True)
class MaxDrop:
    """The quality budget.

    Attributes:
        value: ``0.01`` for one per cent or one point.
        relative: of the baseline's value (``1%``), or absolute in the metric's own unit (``1pt`` = 0.01, ``0.01``).
    """

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> MaxDrop:
        """Read ``"1%"`` (relative to the baseline), ``"1pt"`` (one hundredth, absolute) or ``"0.02"`` (absolute).

        Raises:
            UsageError: the text is none of these, or negative.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*(%|pt|)\s*", text)
        if not match:
            raise UsageError(f"a quality budget was expected, for instance 1% (of the baseline), 1pt or 0.01; got {text!r}")
        number = float(match[1])
        return cls(number if match[2] == "" else number / 100, relative=match[2] == "%")

    def margin(self, baseline: float) -> float:
        """Return the largest loss allowed, in the metric's own unit, as a positive number."""
        return self.value * abs(baseline) if self.relative else self.value

    def __str__(self) -> str:
        return f"{100 * self.value:g} % of the baseline" if self.relative else f"{self.value:g} (absolute)"


def scores(quality: Quality, answers: Sequence[Any], labels: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the score of every example, batches laid end to end.

    Raises:
        WorkloadError: the score function failed or gave something that is not a number per example.
    """
    if quality.score is None:
        raise WorkloadError(f"quality {quality.name!r} has no per-example score")
    rows = []
    for number, (answer, label) in enumerate(zip(answers, labels, strict=True)):
        try:
            rows.append(np.atleast_1d(np.asarray(to_numpy(quality.score(answer, label)), dtype=np.float64)).ravel())
        except Exception as error:
            raise WorkloadError(f"quality {quality.name!r} failed on evaluation input {number}: {error}") from error
    return np.concatenate(rows) if rows else np.zeros(0)


def _same(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Compare one by one; a lone label is never spread over a batch."""
    if found.size != wanted.size:
        raise WorkloadError(f"the answer holds {found.size} examples and {wanted.size} labels came; give one label per example")
    return np.asarray(found == wanted.ravel())


def _top1(answer: Any) -> np.ndarray[Any, Any]:
    return np.asarray(_logits(answer).argmax(axis=-1)).ravel()


def _overlap(answer: Any, original: Any) -> np.ndarray[Any, Any]:
    found, wanted = _logits(answer), _logits(original)
    if found.shape != wanted.shape:
        raise WorkloadError(f"the answer's logits have shape {list(found.shape)}, the original's {list(wanted.shape)}")
    return np.asarray(np.minimum(_softmax(found), _softmax(wanted)).sum(axis=-1)).ravel()


def _softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _logits(answer: Any) -> np.ndarray[Any, Any]:
    leaves, _ = flatten(answer)
    if not leaves:
        raise WorkloadError("the answer holds no array to take the largest output of")
    logits = to_numpy(leaves[0])
    return logits.reshape(1, -1) if logits.ndim < 2 else logits
