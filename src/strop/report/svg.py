"""Just enough SVG: escaped tags, a titled figure, linear and logarithmic axes. Lengths are in user units (about a pixel)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

LETTER = 6.6
"""Estimated advance of one letter at the figure's text size."""


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Write an element. ``content`` is markup; attribute values are escaped; ``class_`` and ``stroke_width`` read as expected."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>"


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def text(x: float, y: float, content: str, *, class_: str = "t", anchor: str = "start") -> str:
    """Write a line of escaped text at its base line."""
    return tag("text", escape(content), x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """Write a straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def marker(x: float, y: float, shape: str, class_: str, tip: str, size: float = 5.0) -> str:
    """Write a ``"circle"``, ``"square"`` or ``"diamond"`` with a tool tip; shapes differ, so colour carries no meaning alone."""
    title = tag("title", escape(tip))
    if shape == "square":
        return tag("rect", title, x=x - size, y=y - size, width=2 * size, height=2 * size, class_=class_)
    if shape == "diamond":
        s = size * 1.35
        return tag(
            "path", title, d=f"M{x:.1f} {y - s:.1f}L{x + s:.1f} {y:.1f}L{x:.1f} {y + s:.1f}L{x - s:.1f} {y:.1f}Z", class_=class_
        )
    return tag("circle", title, cx=float(x), cy=float(y), r=size, class_=class_)


def figure(key: str, title: str, description: str, width: float, height: float, parts: Iterable[str]) -> str:
    """Write a whole drawing that a screen reader announces by ``title`` and explains by ``description``."""
    head = tag("title", escape(title), id=f"{key}-title") + tag("desc", escape(description), id=f"{key}-desc")
    return tag(
        "svg",
        head + "".join(parts),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_="plot",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Map ``low … high`` to ``start … end``, evenly or by logarithm (then both bounds must be positive)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of ``value``; values outside are clamped to the edge."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, min(max(value, self.low), self.high)))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 7) -> list[float]:
        """Return at most about ``most`` round values inside the scale."""
        return _log_ticks(self.low, self.high, most) if self.log else _even_ticks(self.low, self.high, most)


def spanning(values: Iterable[float], start: float, end: float, *, log: bool = False, margin: float = 0.08) -> Scale:
    """Return a scale around ``values`` with some air; a single value gets room on both sides. Infinite values are left out."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if log:
        logs = [math.log(v) for v in finite] or [0.0]
        air = max(margin * (max(logs) - min(logs)), 0.02)
        return Scale(low=math.exp(min(logs) - air), high=math.exp(max(logs) + air), start=start, end=end, log=True)
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    air = margin * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low=low - air, high=high + air, start=start, end=end)


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step)
    return [(first + i) * step for i in range(math.floor(high / step) - first + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**k for k in decades for d in digits if low <= d * 10.0**k <= high]
        if 2 <= len(found) <= most:
            return found
    if high / low < 10:
        return [t for t in _even_ticks(low, high, most) if t > 0]
    step = math.ceil(len(decades) / most)
    return [10.0**k for k in decades if k % step == 0 and low <= 10.0**k <= high]


def x_axis(scale: Scale, y: float, top: float, label: str, show: Callable[[float], str]) -> str:
    """Draw a horizontal axis at ``y`` with faint lines up to ``top``."""
    parts = []
    last = -math.inf
    for tick in scale.ticks():
        x, words = scale(tick), show(tick)
        parts.append(line(x, y, x, top, "grid"))
        if x - last > LETTER * len(words) + 10:
            parts.append(text(x, y + 17, words, class_="t dim", anchor="middle"))
            last = x
    return "".join(parts) + text((scale.start + scale.end) / 2, y + 36, label, class_="t dim", anchor="middle")


def y_axis(scale: Scale, x: float, right: float, label: str, show: Callable[[float], str]) -> str:
    """Draw a vertical axis at ``x`` with faint lines to ``right``; its label stands above it."""
    parts = [text(0, min(scale.start, scale.end) - 12, label, class_="t dim")]
    for tick in scale.ticks(6):
        y = scale(tick)
        parts += [line(x, y, right, y, "grid"), text(x - 8, y + 4, show(tick), class_="t dim", anchor="end")]
    return "".join(parts)


def plain(words: str) -> str:
    """Shorten a tick: ``"2.00 ms"`` becomes ``"2 ms"``, ``"1.50 ms"`` becomes ``"1.5 ms"``."""
    return re.sub(r"(\.\d*?)0+(?= |$)", r"\1", words).replace(". ", " ").rstrip(". ")


def even(ticks: Sequence[float]) -> Callable[[float], str]:
    """Return how to write ``ticks`` with one common number of decimals."""
    places = min(8, max((len(f"{t:.8g}".partition(".")[2]) for t in ticks if "e" not in f"{t:.8g}"), default=0))
    return lambda value: f"{value:.{places}f}" if abs(value) < 1e7 else f"{value:.3g}"


class Labels:
    """Place short labels beside points without letting them overlap; a label that fits nowhere is left out."""

    def __init__(self, left: float, top: float, right: float, bottom: float) -> None:
        self._frame = (left, top, right, bottom)
        self._taken: list[tuple[float, float, float, float]] = []

    def block(self, x: float, y: float, wide: float = 6.0, high: float = 6.0) -> None:
        """Keep labels away from the box that reaches ``wide`` and ``high`` around a place."""
        self._taken.append((x - wide, y - high, x + wide, y + high))

    def put(self, x: float, y: float, words: str, class_: str = "t") -> str:
        """Return the label as text near ``(x, y)``, or an empty string."""
        wide = LETTER * len(words)
        for dx, dy, anchor in (
            (11, 4, "start"),
            (-11, 4, "end"),
            (0, -12, "middle"),
            (0, 21, "middle"),
            (9, -9, "start"),
            (9, 17, "start"),
        ):
            left = x + dx - {"start": 0.0, "end": wide, "middle": wide / 2}[anchor]
            box = (left, y + dy - 11, left + wide, y + dy + 3)
            if self._free(box):
                self._taken.append(box)
                return text(x + dx, y + dy, words, class_=f"{class_} halo", anchor=anchor)
        return ""

    def _free(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = self._frame
        inside = box[0] >= left and box[1] >= top and box[2] <= right and box[3] <= bottom
        return inside and all(box[2] < t[0] or box[0] > t[2] or box[3] < t[1] or box[1] > t[3] for t in self._taken)
