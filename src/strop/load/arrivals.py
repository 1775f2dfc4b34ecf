"""When requests are sent: arrival times drawn before the first request leaves, so that no answer can delay them.

A schedule is an ascending array of seconds from the start, all below the duration. The same seed at another rate gives the
same pattern, stretched: rates of a sweep are compared on common random numbers.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strop.errors import UsageError, did_you_mean
from strop.units import Seconds

FloatArray = NDArray[np.float64]
Arrivals = Callable[[float, Seconds, int], FloatArray]
"""``arrivals(rate, seconds, seed)``: requests per second, duration, seed → schedule."""

MOST = 5_000_000
"""Requests in one schedule; more would not fit into memory beside their samples."""

PATTERNS = ("poisson", "uniform", "bursts")


def poisson(rate: float, seconds: Seconds, seed: int) -> FloatArray:
    """Draw independent arrivals: exponential gaps of mean ``1 / rate``."""
    expected = _expected(rate, seconds)
    generator = np.random.default_rng(seed)
    times = np.cumsum(generator.standard_exponential(expected + 1)) / rate
    while times[-1] < seconds:
        more = np.cumsum(generator.standard_exponential(expected + 1)) / rate
        times = np.concatenate([times, times[-1] + more])
    return times[times < seconds]


def uniform(rate: float, seconds: Seconds, seed: int) -> FloatArray:
    """Space arrivals evenly; nothing is random."""
    return np.arange(_expected(rate, seconds)) / rate


def bursts(size: int) -> Arrivals:
    """Let ``size`` requests arrive together; the bursts themselves are Poisson.

    Raises:
        UsageError: the size is less than 1.
    """
    if size < 1:
        raise UsageError(f"a burst has at least 1 request; got {size}")

    def draw(rate: float, seconds: Seconds, seed: int) -> FloatArray:
        return np.repeat(poisson(rate / size, seconds, seed), size)

    return draw


def recorded(times: FloatArray) -> Arrivals:
    """Replay recorded arrivals at another rate: as many neighbours as are needed, stretched to the duration.

    Where to begin in the recording is drawn from the seed. Gaps keep their proportions; a recording that is too short is
    repeated from its start.

    Args:
        times: when requests arrived, seconds in any order and from any origin.

    Raises:
        UsageError: there are fewer than two different times.
    """
    gaps = np.diff(np.sort(times))
    if not len(gaps) or gaps.sum() <= 0:
        raise UsageError(f"recorded arrivals need at least two different times; got {len(times)} of no length")

    def draw(rate: float, seconds: Seconds, seed: int) -> FloatArray:
        count = _expected(rate, seconds)
        start = int(np.random.default_rng(seed).integers(len(gaps)))
        chosen = np.take(gaps, np.arange(start, start + count), mode="wrap")
        if chosen.sum() <= 0:
            raise UsageError(f"{count} recorded arrivals from number {start} on are all at one time; take another --seed")
        return (np.cumsum(chosen) - chosen) * (seconds / float(chosen.sum()))

    return draw


def parse_arrivals(text: str) -> Arrivals:
    """Read ``"poisson"``, ``"uniform"``, ``"bursts:8"``, or the path of a CSV file with one time in the first column.

    Raises:
        UsageError: it is none of these, or the file cannot be used.
    """
    name, _, size = text.partition(":")
    if name == "bursts":
        if not size.isdigit():
            raise UsageError(f"bursts need a size, for instance bursts:8; got {text!r}")
        return bursts(int(size))
    if text in PATTERNS:
        return {"poisson": poisson, "uniform": uniform}[text]
    path = Path(text)
    if not path.exists():
        raise UsageError(f"arrivals {text!r} are neither a pattern nor a file.{did_you_mean(name, PATTERNS)}")
    return recorded(read_times(path))


def read_times(path: Path) -> FloatArray:
    """Read the first column of a CSV file: numbers (seconds) or ISO 8601 dates; a heading may stand above them.

    Raises:
        UsageError: the file cannot be read, or a line holds no time.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            cells = [(number, row[0].strip()) for number, row in enumerate(csv.reader(stream), start=1) if row and row[0].strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"arrivals cannot be read from {path}: {error}") from error
    times = []
    for place, (number, cell) in enumerate(cells):
        time = _time(cell)
        if time is not None:
            times.append(time)
        elif place > 0:
            raise UsageError(f"{path}, line {number}: a time was expected (seconds, or an ISO 8601 date); got {cell!r}")
    return np.asarray(times, dtype=np.float64)


def _time(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        try:
            date = datetime.fromisoformat(cell)
        except ValueError:
            return None
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return value if math.isfinite(value) else None


def _expected(rate: float, seconds: Seconds) -> int:
    if not (rate > 0 and seconds > 0 and math.isfinite(rate * seconds)):
        raise UsageError(f"rate and duration must be more than 0; got {rate:g} per second for {seconds:g} s")
    if rate * seconds > MOST:
        raise UsageError(f"{rate:g} per second for {seconds:g} s are more than {MOST} requests; take fewer or less time")
    return max(1, round(rate * seconds))
