"""What a machine does to timings, simulated: families of noise for proving the measuring.

A family gives log-times of consecutive blocks ("slots") of a workload that never changes. Which arm a slot belongs to
is decided afterwards by coins, so a family knows nothing of arms; only the luck of a process belongs to an arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import signal

from strop.measure.ratios import FloatArray

Slots = Callable[[Generator, int, int], FloatArray]
"""``slots(generator, rows, count) -> (rows, count)``: log-times of ``rows`` independent stretches of ``count`` slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of noise.

    Attributes:
        name: shown in tables.
        slots: the noise of consecutive slots; called once per round, so that a fresh process begins a fresh stretch.
        luck: standard deviation of the log-speed of one process against another of the same program.
    """

    name: str
    slots: Slots
    luck: float = 0.0


def families() -> tuple[Family, ...]:
    """Return every family that the proof runs over."""
    return (
        Family(name="white", slots=white),
        Family(name="autoregressive", slots=autoregressive),
        Family(name="bursts", slots=bursts),
        Family(name="spikes", slots=spikes),
        Family(name="periodic (one pair)", slots=lambda g, rows, count: periodic(g, rows, count, period=2)),
        Family(name="periodic (two pairs)", slots=lambda g, rows, count: periodic(g, rows, count, period=4)),
        Family(name="linear drift", slots=linear_drift),
        Family(name="step drift", slots=step_drift),
        Family(name="warm-up", slots=warm_up),
        Family(name="shared machine", slots=shared),
        Family(name="shared, luck 0.5 %", slots=shared, luck=0.005),
        Family(name="shared, luck 1 %", slots=shared, luck=0.01),
    )


def white(generator: Generator, rows: int, count: int, sigma: float = 0.02) -> FloatArray:
    """Independent normal noise of 2 %."""
    return generator.normal(0.0, sigma, (rows, count))


def autoregressive(generator: Generator, rows: int, count: int, phi: float = 0.98, sigma: float = 0.04) -> FloatArray:
    """A slowly wandering speed (AR(1), stationary deviation 4 %) under 1 % of white noise."""
    pushes = generator.normal(0.0, sigma * np.sqrt(1 - phi**2), (rows, count))
    pushes[:, 0] = generator.normal(0.0, sigma, rows)
    return np.asarray(signal.lfilter([1.0], [1.0, -phi], pushes, axis=1)) + white(generator, rows, count, 0.01)


def bursts(
    generator: Generator, rows: int, count: int, *, height: float = 0.3, enter: float = 0.01, leave: float = 0.1
) -> FloatArray:
    """Two states: now and then a neighbour slows everything by 30 % for about ten slots."""
    draws = generator.random((rows, count))
    busy = generator.random(rows) < enter / (enter + leave)
    states = np.empty((rows, count), dtype=bool)
    for slot in range(count):
        busy = np.where(busy, draws[:, slot] >= leave, draws[:, slot] < enter)
        states[:, slot] = busy
    return np.asarray(np.log1p(height) * states) + white(generator, rows, count)


def spikes(generator: Generator, rows: int, count: int) -> FloatArray:
    """Rare heavy-tailed delays: one slot in twenty is longer by a Pareto amount without a finite variance."""
    hit = generator.random((rows, count)) < 0.05
    return np.log1p(hit * (0.3 + 0.3 * generator.pareto(1.5, (rows, count)))) + white(generator, rows, count)


def periodic(generator: Generator, rows: int, count: int, *, period: int) -> FloatArray:
    """Work that comes back every ``period`` slots, in step with the pairs: amplitude 4 %, random phase."""
    phase = generator.uniform(0, 2 * np.pi, (rows, 1))
    return 0.04 * np.cos(2 * np.pi * np.arange(count) / period + phase) + white(generator, rows, count)


def linear_drift(generator: Generator, rows: int, count: int) -> FloatArray:
    """A machine that gets steadily faster or slower, by 1 % a slot on average."""
    slope = generator.normal(0.0, 0.01, (rows, 1))
    return slope * np.arange(count) + white(generator, rows, count)


def step_drift(generator: Generator, rows: int, count: int) -> FloatArray:
    """A machine that changes speed once, by 20 %, at a random moment."""
    moment = generator.integers(0, count, (rows, 1))
    height = generator.choice([-0.2, 0.2], (rows, 1))
    return height * (np.arange(count) >= moment) + white(generator, rows, count)


def warm_up(generator: Generator, rows: int, count: int) -> FloatArray:
    """Blocks that begin 40 % slow and settle over about eight slots."""
    return 0.4 * np.exp(-np.arange(count) / 8) + white(generator, rows, count)


def shared(generator: Generator, rows: int, count: int) -> FloatArray:
    """A shared machine: wandering speed, bursts, and one slot in a hundred longer by 40 to 140 %."""
    hit = generator.random((rows, count)) < 0.01
    jump = np.log1p(hit * generator.uniform(0.4, 1.4, (rows, count)))
    return autoregressive(generator, rows, count) + bursts(generator, rows, count) + jump
