"""Every error strop raises on purpose. A message says what was wrong, what came, and what to do.

StropError
├── UsageError               the caller's arguments, files or settings cannot be used (exit code 2)
│   ├── WorkloadError        the workload file or object cannot be loaded, or does not hold together
│   ├── RecipeError          a recipe names something unknown or illegal
│   ├── MissingExtraError    an optional package is needed; the message carries the install command
│   └── RunDirectoryError    the run directory is taken, locked or not a run
├── MeasureError             a measurement could not be taken
│   ├── TargetError          the code being measured raised an error of its own
│   ├── WrongAnswersError    what an arm answered cannot be judged
│   ├── WorkerDiedError      an arm's process ended or was killed
│   └── WorkerTimeoutError   an arm did not answer within its time limit
├── PrepareError             a moment or an engine failed while preparing an artefact
│   ├── DeclinedError        an instruction does not fit this model or machine
│   └── NoEffectError        an instruction changed nothing
├── TrainingError            training cannot go on: a step failed, was halted, or a checkpoint does not fit
├── ArtefactError            a bundle cannot be opened: corrupt, foreign or unsafe
└── LedgerError              a record on disk is damaged or disagrees with its own digests
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StropError(Exception):
    """Base of everything strop raises on purpose."""


class UsageError(StropError):
    """The caller's arguments, files or settings cannot be used."""


class WorkloadError(UsageError):
    """The workload file or object cannot be loaded, or does not hold together."""


class RecipeError(UsageError):
    """A recipe names something unknown, twice, or in an illegal combination."""


class MissingExtraError(UsageError):
    """An optional package is needed.

    Args:
        what: what needs it, for instance ``"engine openvino"``.
        extra: the extra of the strop distribution that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs packages that are not installed. Run: pip install 'strop[{extra}]'")


class RunDirectoryError(UsageError):
    """The run directory is taken by another run, locked, or does not hold a run."""


class MeasureError(StropError):
    """A measurement could not be taken.

    Attributes:
        arm: name of the arm that failed; empty where none did.
    """

    arm: str = ""


class TargetError(MeasureError):
    """The code being measured raised; its process lives on.

    Args:
        message: which arm, doing what.
        kind: name of the exception's class there.
        detail: its own message.
        trace: its traceback as text.
    """

    def __init__(self, message: str, kind: str, detail: str, trace: str) -> None:
        self.kind, self.detail, self.trace = kind, detail, trace
        super().__init__(f"{message}: {kind}: {detail}")


class WrongAnswersError(MeasureError):
    """A candidate's answers cannot be judged: the quality measure fails on them, or gives no number."""


class WorkerDiedError(MeasureError):
    """An arm's process ended before it answered."""


class WorkerTimeoutError(MeasureError):
    """An arm did not answer within its time limit and was killed."""


class PrepareError(StropError):
    """A moment or an engine failed while preparing an artefact."""


class DeclinedError(PrepareError):
    """An instruction does not fit this model or machine; the message is its reason."""


class NoEffectError(PrepareError):
    """An instruction changed nothing in this model; the message names it."""


class TrainingError(StropError):
    """Training cannot go on: a step failed, a monitor halted it, or a checkpoint does not fit."""


class ArtefactError(StropError):
    """A bundle cannot be opened: it is corrupt, foreign, or unsafe to load."""


class LedgerError(StropError):
    """A record on disk is damaged or disagrees with its own digests."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or the full list when nothing is near."""
    names = sorted(known)
    if not names:
        return ""
    near = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
