"""Units of measure, and the only place that turns them into text or reads them from text."""

from __future__ import annotations

import math
import re

from strop.errors import UsageError

Seconds = float
Bytes = int
Ratio = float

NOT_MEASURED = "not measured"
"""What stands wherever a number is missing."""

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


def parse_rate(text: str) -> float:
    """Read a rate such as ``"200/s"`` or ``"90/m"`` as events per second; a bare number means per second.

    Raises:
        UsageError: the text is not a positive rate.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([a-z]+))?\s*", text)
    if not match or (match[2] and match[2] not in _DURATION) or float(match[1]) <= 0:
        raise UsageError(f"a rate was expected, for instance 200/s or 90/m; got {text!r}")
    return float(match[1]) / _DURATION.get(match[2], 1.0)


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
    """Write a duration with a fitting unit and three significant digits: ``"1.42 ms"``, ``"3 m 20 s"``, ``"1 h 05 m"``."""
    if not math.isfinite(value):
        return NOT_MEASURED
    if value < 0:
        return f"-{show_seconds(-value)}"
    if value >= 3599.5:
        hours, minutes = divmod(round(value / 60), 60)
        return f"{hours} h {minutes:02d} m"
    if value >= 59.95:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} m {seconds:02d} s"
    return _scaled(value, ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))) if value else "0 s"


def show_seconds_interval(low: Seconds, estimate: Seconds, high: Seconds) -> str:
    """Write a duration with its interval in one unit: ``"1.42 ms [1.40, 1.45]"``."""
    text = show_seconds(estimate)
    number, _, unit = text.partition(" ")
    scale = _DURATION.get(unit, 1e-6 if unit == "µs" else 1e-9)
    if text == NOT_MEASURED or not math.isfinite(low + high) or estimate >= 59.95 or estimate <= 0:
        return text
    places = len(number.partition(".")[2])
    return f"{text} [{low / scale:.{places}f}, {high / scale:.{places}f}]"


def show_bytes(value: float) -> str:
    """Write a size in decimal units with three significant digits: ``"22.7 MB"``."""
    if not math.isfinite(value):
        return NOT_MEASURED
    if abs(value) < 999.5:
        return f"{round(value)} B"
    sign = "-" if value < 0 else ""
    return sign + _scaled(abs(value), ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")))


def show_rate(value: float, unit: str) -> str:
    """Write a rate with a decimal prefix and three significant digits: ``show_rate(1.7e11, "FLOP/s")`` is ``"170 GFLOP/s"``."""
    if not math.isfinite(value):
        return NOT_MEASURED
    if abs(value) < 999.5:
        return f"{_digits(value)} {unit}"
    sign = "-" if value < 0 else ""
    return sign + _scaled(abs(value), ((1e12, f"T{unit}"), (1e9, f"G{unit}"), (1e6, f"M{unit}"), (1e3, f"k{unit}")))


def show_per_second(value: float) -> str:
    """Write how often something happens as people name loads: ``"0.5/s"``, ``"200/s"``, ``"12,500/s"``."""
    if not math.isfinite(value):
        return NOT_MEASURED
    return f"{value:,.0f}/s" if value >= 99.95 or value == round(value) else f"{_digits(value)}/s"


def show_share(value: Ratio) -> str:
    """Write a share of one as a percentage: ``0.1234`` becomes ``"12.3 %"``; a share too small to show is ``"< 0.1 %"``."""
    if not math.isfinite(value):
        return NOT_MEASURED
    return "< 0.1 %" if 0 < value < 5e-4 else f"{100 * value:.1f} %"


def show_speedup(low: Ratio, estimate: Ratio, high: Ratio) -> str:
    """Write a speed-up with its interval, keeping only digits that the half-width supports.

    The last digit printed is the first whose unit is at most a third of the half-width: ``×1.31 [1.27, 1.35]``. At least
    one decimal below ×10, at most three, more only where a tiny ratio would read as zero.
    """
    if any(math.isnan(value) for value in (low, estimate, high)):
        return NOT_MEASURED
    half = (high - low) / 2
    places = math.ceil(-math.log10(half / 3)) if 0 < half < math.inf else 2
    places = max(places, 1 if estimate < 10 else 0)
    places = min(places, max(3, 1 - _exponent(low)))
    shown = ["∞" if math.isinf(value) else f"{value:.{places}f}" for value in (estimate, low, high)]
    return f"×{shown[0]} [{shown[1]}, {shown[2]}]"


def show_number(value: float) -> str:
    """Write a plain number with four significant digits, or whole if it is: ``"0.9123"``, ``"1500"``."""
    if not math.isfinite(value):
        return NOT_MEASURED
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.4g}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0


def _digits(value: float) -> str:
    """Three significant digits; rounding up to the next power of ten does not add a fourth."""
    rounded = float(f"{value:.2e}")
    return f"{rounded:.{max(0, 2 - _exponent(rounded))}f}"


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Write a positive number in the largest unit in which its three digits are at least 1; the last unit takes the rest."""
    for scale, unit in units[:-1]:
        if float(f"{value / scale:.2e}") >= 1:
            return f"{_digits(value / scale)} {unit}"
    scale, unit = units[-1]
    return f"{_digits(value / scale)} {unit}"
