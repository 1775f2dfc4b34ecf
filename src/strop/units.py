"""Units of measure, and the only place that turns them into text or reads them from text."""

from __future__ import annotations

import math
import re

from strop.errors import UsageError

Seconds = float
Bytes = int
Ratio = float

_DURATION = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_seconds(text: str) -> Seconds:
    """Read a duration such as ``"90s"``, ``"4m"``, ``"1h"`` or ``"50ms"``; a bare number means seconds.

    Raises:
        UsageError: the text is not a positive duration.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text)
    if not match or (match[2] and match[2] not in _DURATION) or float(match[1]) <= 0:
        raise UsageError(f"a duration was expected, for instance 90s, 4m or 1h; got {text!r}")
    return float(match[1]) * _DURATION.get(match[2], 1.0)


def parse_bytes(text: str) -> Bytes:
    """Read a size such as ``"512MB"`` or ``"2GiB"``; a bare number means bytes.

    Raises:
        UsageError: the text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].upper() if match and match[2] else "B"
    if not match or unit not in _SIZES:
        raise UsageError(f"a size was expected, for instance 512MB or 2GiB; got {text!r}")
    return int(float(match[1]) * _SIZES[unit])


def show_seconds(value: Seconds) -> str:
    """Write a duration with a fitting unit and three significant digits: ``"1.42 ms"``, ``"3 m 20 s"``."""
    if not math.isfinite(value):
        return "not measured"
    if value >= 60:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} m {seconds:02d} s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{_digits(value / scale)} {unit}"
    return f"{_digits(value / 1e-9)} ns"


def show_bytes(value: float) -> str:
    """Write a size in decimal units with three significant digits: ``"22.7 MB"``."""
    for scale, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {unit}"
    return f"{int(value)} B"


def show_share(value: Ratio) -> str:
    """Write a share of one as a percentage: ``0.1234`` becomes ``"12.3 %"``."""
    return f"{100 * value:.1f} %"


def show_speedup(low: Ratio, estimate: Ratio, high: Ratio) -> str:
    """Write a speed-up with its interval, keeping only digits that the half-width supports.

    A digit is kept when its unit is at least a third of the interval's half-width: ``×1.31 [1.27, 1.35]``.
    """
    half = (high - low) / 2
    places = 2 if half <= 0 or not math.isfinite(half) else min(3, max(0, -math.floor(math.log10(half / 3)) - 1))
    places = max(places, 1)
    return f"×{estimate:.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def _digits(value: float) -> str:
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{places}f}"
