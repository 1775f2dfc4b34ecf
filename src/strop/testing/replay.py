"""Thousands of trials of the real decision code on simulated or recorded noise, in seconds.

A trial takes consecutive slots of a source, tosses fresh coins over which arm each slot of a pair belongs to, plants an
effect by multiplying the candidate's slots, and lets the judges decide. Recorded noise makes the same trial on real
machines: anyone can repeat it from the trace alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from strop.errors import UsageError
from strop.measure.confirm import RoundStatistics, confirm_size, from_round_values, proven_by
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.ratios import FloatArray, huber, spread
from strop.measure.result import Block, Pair, Verdict
from strop.measure.sequential import Decision, decide, evidence
from strop.measure.voiding import FOREIGN_SHARE, TICK_NS

TRACE_COLUMNS = ("wall_us", "own_us", "busy_ticks", "steal_ticks", "major_faults")

Coins = Callable[[Generator, tuple[int, int]], NDArray[np.bool_]]
"""``coins(generator, (rows, pairs)) -> bool``: whether the candidate takes the first slot of each pair."""


class Source(Protocol):
    """Anything that gives log-times of consecutive slots."""

    @property
    def name(self) -> str:
        """Shown in tables."""

    @property
    def luck(self) -> float:
        """Standard deviation of the log-speed between processes of one program."""

    @property
    def slots(self) -> Callable[[Generator, int, int], FloatArray]:
        """``slots(generator, rows, count) -> (rows, count)`` log-times."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded block times of one unchanging workload.

    Attributes:
        name: shown in tables.
        stretches: log-times of each uninterrupted stretch.
        meta: what was run, and under which load.
        step: windows begin at multiples of this many slots.
        luck: 0: a trace is one process.
    """

    name: str
    stretches: tuple[FloatArray, ...]
    meta: dict[str, Any]
    step: int = 1
    luck: float = 0.0

    def slots(self, generator: Generator, rows: int, count: int) -> FloatArray:
        """Return ``rows`` random windows of ``count`` consecutive slots."""
        room = np.array([max(0, (len(stretch) - count) // self.step + 1) for stretch in self.stretches])
        if not room.sum():
            longest = max(map(len, self.stretches), default=0)
            raise UsageError(f"trace {self.name!r} holds {longest} consecutive blocks; {count} are needed")
        chosen = generator.choice(len(room), size=rows, p=room / room.sum())
        starts = [self.step * int(generator.integers(room[which])) for which in chosen]
        return np.stack([self.stretches[which][start : start + count] for which, start in zip(chosen, starts, strict=True)])


def load_trace(path: Path, *, group: int = 1, voiding: bool = False) -> Trace:
    """Open a recorded trace.

    Args:
        path: an ``.npz`` with a value per block of ``wall_us``, ``own_us``, ``busy_ticks``, ``steal_ticks`` and
            ``major_faults``, and with ``starts`` and ``meta``.
        group: consecutive recorded blocks that make one slot (their median), to replay longer blocks than were recorded.
        voiding: take out the pairs of slots that the live measurement would have voided, by the counters alone.

    Raises:
        UsageError: the file is not a trace.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            columns = {name: data[name].astype(np.float64) for name in TRACE_COLUMNS}
            starts, meta = data["starts"], json.loads(str(data["meta"]))
        foreign = np.maximum(meta["tick_us"] * columns["busy_ticks"] - columns["own_us"], 0)
        foreign += meta["tick_us"] * columns["steal_ticks"]
        blocks = np.stack([columns["wall_us"], foreign, columns["major_faults"]], axis=1)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path.name} is not a noise trace: {error}") from error
    stretches = []
    for part in np.split(blocks, starts[1:]):
        slots = part[: len(part) // (2 * group) * (2 * group)].reshape(-1, group, 3)
        logs = np.log(np.median(slots[..., 0], axis=1))
        if voiding:
            wall, alien, faults = slots.sum(axis=1).T
            disturbed = (alien > FOREIGN_SHARE * meta["cores"] * wall + TICK_NS / 1000) | (faults > 0)
            logs = logs.reshape(-1, 2)[~disturbed.reshape(-1, 2).any(axis=1)].ravel()
        if len(logs):
            stretches.append(logs)
    return Trace(path.stem + (", voiding" if voiding else ""), tuple(stretches), meta, step=2 if voiding else 1)


def fair_coins(generator: Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Independent fair coins."""
    return generator.random(shape) < 0.5


def draw(
    source: Source, generator: Generator, rows: int, pairs: int, theta: float = 0.0, coins: Coins = fair_coins
) -> tuple[FloatArray, FloatArray]:
    """Return log-times of baseline and candidate, each of shape ``(rows, pairs)``; a row is one fresh pair of processes."""
    slots = source.slots(generator, rows, 2 * pairs).reshape(rows, pairs, 2)
    first = coins(generator, (rows, pairs))
    luck = generator.normal(0.0, source.luck, (2, rows, 1))
    baseline = np.where(first, slots[..., 1], slots[..., 0]) + luck[0]
    candidate = np.where(first, slots[..., 0], slots[..., 1]) + luck[1] + theta
    return baseline, candidate


def ratios(
    source: Source, generator: Generator, rows: int, pairs: int, theta: float = 0.0, coins: Coins = fair_coins
) -> FloatArray:
    """Return the log-ratios of :func:`draw`."""
    baseline, candidate = draw(source, generator, rows, pairs, theta, coins)
    return candidate - baseline


def screen_trials(
    source: Source, plan: ScreenPlan, theta: float, trials: int, seed: int, coins: Coins = fair_coins
) -> list[Decision]:
    """Screen ``trials`` times, stopping whenever the evidence decides; the cap gives UNDECIDED."""
    y = ratios(source, np.random.default_rng(seed), trials, plan.max_pairs, theta, coins)
    return screen_rows(y, plan)


def screen_rows(y: FloatArray, plan: ScreenPlan) -> list[Decision]:
    """Screen each row of log-ratios, shape ``(trials, max_pairs)``."""
    undecided = Decision(Verdict.UNDECIDED, plan.max_pairs)
    return [decide(row, plan, paths=paths) or undecided for row, paths in zip(y, evidence(y, plan), strict=True)]


def confirm_trials(
    source: Source, plan: ConfirmPlan, theta: float, trials: int, seed: int, coins: Coins = fair_coins
) -> list[RoundStatistics]:
    """Confirm ``trials`` times, each over fresh rounds."""
    generator = np.random.default_rng(seed)
    y = ratios(source, generator, trials * plan.rounds, plan.pairs, theta, coins).reshape(trials, plan.rounds, plan.pairs)
    return confirm_rows(y, plan)


def confirm_rows(y: FloatArray, plan: ConfirmPlan) -> list[RoundStatistics]:
    """Confirm each row of log-ratios, shape ``(trials, rounds, pairs)``."""
    means, errors = huber(y)
    return [from_round_values(m, e, plan) for m, e in zip(means, errors, strict=True)]


def pipeline_trials(
    source: Source, screen: ScreenPlan, confirm: ConfirmPlan, theta: float, trials: int, seed: int
) -> list[tuple[Decision, Verdict | None]]:
    """Screen, and confirm what came out FASTER on fresh data of the size that screening asked for."""
    generator = np.random.default_rng(seed)
    y = ratios(source, generator, trials, screen.max_pairs, theta)
    outcomes: list[tuple[Decision, Verdict | None]] = []
    for row, decision in zip(y, screen_rows(y, screen), strict=True):
        if decision.verdict is not Verdict.FASTER:
            outcomes.append((decision, None))
            continue
        used = row[decision.start : decision.pairs]
        pairs = confirm_size(spread(used), float(huber(used)[0]), screen.delta, screen.spread)
        means, errors = huber(ratios(source, generator, confirm.rounds, pairs, theta))
        outcomes.append((decision, proven_by(from_round_values(means, errors, confirm), confirm)))
    return outcomes


def as_pairs(baseline: FloatArray, candidate: FloatArray, *, scale_ns: float = 1e7, first_round: int = 0) -> list[Pair]:
    """Return the pairs that a collector would have recorded for log-times of shape ``(rounds, pairs)``; one call per block."""
    pairs: list[Pair] = []
    for number, (left, right) in enumerate(zip(baseline, candidate, strict=True)):
        for slow, fast in zip(left, right, strict=True):
            times = {"baseline": slow, "candidate": fast}
            blocks = tuple(
                Block(arm=arm, point="only", calls_ns=(max(1, round(scale_ns * math.exp(value))),))
                for arm, value in times.items()
            )
            pairs.append(Pair(index=len(pairs), round=first_round + number, candidate_first=False, blocks=blocks))
    return pairs


def count(verdicts: Sequence[Verdict], wanted: Verdict = Verdict.FASTER) -> int:
    """Return how many verdicts are the wanted one."""
    return sum(verdict is wanted for verdict in verdicts)
