"""How the contributions of single instructions add up to the confirmed speed-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from strop.measure.result import Comparison, Interval, Verdict
from strop.report.evidence import Ablation, Claim
from strop.report.svg import LETTER, Scale, figure, line, spanning, tag, text, x_axis
from strop.report.words import contribution, speedup
from strop.units import NOT_MEASURED

WIDTH, LEFT, RIGHT, TOP, ROW = 944.0, 220.0, 770.0, 22.0, 34.0
PROVEN = (Verdict.FASTER, Verdict.SLOWER, Verdict.NO_GAIN)


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    start: float
    end: float
    look: str
    words: str
    whisker: Interval | None = None


def draw(rows: Sequence[Ablation], gate: Claim | None) -> str:
    """Return the plot, or an empty string when nothing was measured.

    Contributions multiply, so the axis is logarithmic. They are measured by leaving one out, so their product differs
    from the whole where instructions overlap or help each other; that difference has a bar of its own.
    """
    kept = [a for a in rows if a.verdict != "dropped"]
    measured = [a for a in kept if a.contribution is not None]
    whole = gate.over_all() if gate else None
    total = whole if whole is not None and whole.verdict in PROVEN else None
    if not measured:
        return ""
    bars = _bars(kept, total)
    ends = [
        v for b in bars for v in (b.start, b.end, *((b.start * b.whisker.low, b.start * b.whisker.high) if b.whisker else ()))
    ]
    x = spanning([1.0, *ends], LEFT, RIGHT, log=True)
    bottom = TOP + ROW * len(bars)
    parts = [
        x_axis(x, bottom, TOP - 6, "speed-up over the original (each bar multiplies)", lambda v: f"×{v:.6g}"),
        line(x(1), TOP - 6, x(1), bottom, "one"),
    ]
    parts += [_row(bar, place, x) for place, bar in enumerate(bars)]
    description = "; ".join(f"{b.name}: {b.words}" for b in bars) + "."
    return figure("waterfall", "Contributions of the kept instructions", description, WIDTH, bottom + 46, parts)


def _bars(kept: Sequence[Ablation], total: Comparison | None) -> list[_Bar]:
    bars, at = [], 1.0
    for a in sorted(kept, key=lambda a: -(a.contribution.estimate if a.contribution else 0.0)):
        if a.contribution is None:
            bars.append(_Bar(a.instruction, at, at, "", NOT_MEASURED))
            continue
        end = at * a.contribution.estimate
        bars.append(_Bar(a.instruction, at, end, "step" if a.confirmed else "seen", contribution(a), a.contribution))
        at = end
    if total is not None:
        whole = total.speedup.estimate
        rest = whole / at
        if len(kept) > 1 and abs(math.log(rest)) > 0.005:
            bars.append(_Bar("overlap and interplay", at, whole, "rest", f"×{rest:.2f}"))
        bars.append(_Bar("together, confirmed", 1.0, whole, "total", speedup(total.speedup), total.speedup))
    return bars


def _row(bar: _Bar, place: int, x: Scale) -> str:
    top = TOP + ROW * place
    middle = top + ROW / 2
    most = int((LEFT - 20) / LETTER)
    name = bar.name if len(bar.name) <= most else bar.name[: most - 1] + "…"
    parts = [text(0, middle + 4, name, class_="t strong" if bar.look == "total" else "t")]
    left, right = sorted((x(bar.start), x(bar.end)))
    if bar.look:
        title = tag("title", escape(f"{bar.name}: {bar.words}"))
        parts.append(
            tag("rect", title, x=left, y=top + 8, width=max(1.5, right - left), height=ROW - 16, rx=2, class_=f"bar {bar.look}")
        )
    if bar.whisker:
        low, high = x(bar.start * bar.whisker.low), x(bar.start * bar.whisker.high)
        parts += [
            line(low, middle, high, middle, "whisker"),
            *(line(e, middle - 4, e, middle + 4, "whisker") for e in (low, high)),
        ]
        right = max(right, high)
    if place:
        parts.append(line(x(bar.start), top - 8, x(bar.start), top + 8, "join"))
    parts.append(text(right + 8, middle + 4, bar.words, class_="t strong" if bar.look == "total" else "t dim"))
    return "".join(parts)
