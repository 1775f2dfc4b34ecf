"""The distribution of the paired ratios of the confirm phase, one row per operating point."""

from __future__ import annotations

import math
from collections.abc import Sequence

from strop.measure.result import Comparison, Verdict
from strop.report.evidence import Claim, Samples
from strop.report.svg import LETTER, Scale, figure, line, spanning, tag, text, x_axis
from strop.report.words import claimed

WIDTH, LEFT, RIGHT, TOP, ROW = 944.0, 210.0, 928.0, 26.0, 62.0
MOST_DOTS = 400


def draw(samples: Sequence[Samples], gate: Claim | None) -> str:
    """Return the plot: every pair a dot, the middle half a box, the confirmed interval a bold bar where a ratio is claimed."""
    rows = [s for s in samples if s.log_ratios]
    if not rows:
        return ""
    found = {c.point: c for c in gate.comparisons} if gate else {}
    proven = [c for c in found.values() if c.verdict not in (Verdict.UNDECIDED, Verdict.INVALID)]
    values = [math.exp(v) for s in rows for v in s.log_ratios]
    claims = [v for c in proven for v in (c.speedup.low, c.speedup.high) if c.point in {s.point for s in rows}]
    x = spanning([*_equal([*values, *claims]), *values, *claims], LEFT, RIGHT, log=True, margin=0.04)
    bottom = TOP + ROW * len(rows)
    parts = [
        x_axis(x, bottom, TOP - 6, "speed-up in each pair (original time / result time)", lambda v: f"×{v:.6g}"),
        _mark_equal(x, bottom),
        *(_row(s, TOP + ROW * place, x, found.get(s.point)) for place, s in enumerate(rows)),
    ]
    told = [f"{s.point}: {len(s.log_ratios)} pairs, {_told(found.get(s.point))}" for s in rows]
    return figure("ratios", "Paired ratios of the confirmation", "; ".join(told) + ".", WIDTH, bottom + 46, parts)


def _equal(values: Sequence[float]) -> list[float]:
    """Return ``[1.0]`` if the mark of equal speed is near enough that the axis should reach it."""
    low, high = math.log(min(values)), math.log(max(values))
    return [1.0] if max(low, -high) <= 2 * (high - low) + 0.05 else []


def _mark_equal(x: Scale, bottom: float) -> str:
    if x.low <= 1 <= x.high:
        anchor = "start" if x(1) < LEFT + 20 else "end" if x(1) > RIGHT - 20 else "middle"
        return line(x(1), TOP - 12, x(1), bottom, "one") + text(x(1), TOP - 14, "equal", class_="t dim", anchor=anchor)
    if x.low > 1:
        return text(LEFT, TOP - 14, "← equal speed (×1) lies outside, to the left", class_="t dim")
    return text(RIGHT, TOP - 14, "equal speed (×1) lies outside, to the right →", class_="t dim", anchor="end")


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values by linear interpolation."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _told(comparison: Comparison | None) -> str:
    return "no verdict" if comparison is None else f"{comparison.verdict.value}, {claimed(comparison)}"


def _row(samples: Samples, top: float, x: Scale, comparison: Comparison | None) -> str:
    middle = top + 24
    ordered = sorted(samples.log_ratios)
    q1, q2, q3 = (x(math.exp(quantile(ordered, share))) for share in (0.25, 0.5, 0.75))
    most = int((LEFT - 18) / LETTER)
    name = samples.point if len(samples.point) <= most else samples.point[: most - 1] + "…"
    parts = [
        text(0, middle + 1, name),
        text(0, middle + 17, f"{len(ordered)} pairs", class_="t dim"),
    ]
    stride = max(1, math.ceil(len(ordered) / MOST_DOTS))
    for place, value in enumerate(ordered[::stride]):
        # A fixed golden-ratio spread keeps dots apart and the page identical every time it is written.
        offset = ((place * 0.618034) % 1.0 - 0.5) * 22
        parts.append(tag("circle", cx=x(math.exp(value)), cy=middle + offset, r=2.4, class_="dot"))
    parts.append(tag("rect", x=q1, y=middle - 13, width=max(1.0, q3 - q1), height=26, rx=2, class_="box"))
    parts.append(line(q2, middle - 13, q2, middle + 13, "mid"))
    if comparison is not None and comparison.verdict not in (Verdict.UNDECIDED, Verdict.INVALID):
        low, high = x(comparison.speedup.low), x(comparison.speedup.high)
        parts += [line(low, middle + 22, high, middle + 22, "claim")]
        parts += [line(e, middle + 18, e, middle + 26, "claim thin") for e in (low, high)]
    return "".join(parts)
