"""Goodput against the rate that was asked for: where a server stops keeping its objective."""

from __future__ import annotations

from collections.abc import Sequence

from strop.load.summary import Summary
from strop.report.svg import Scale, figure, line, marker, spanning, tag, x_axis, y_axis
from strop.units import show_number, show_per_second, show_share

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 944.0, 330.0, 56.0, 928.0, 40.0, 280.0


def draw(summaries: Sequence[Summary]) -> str:
    """Return the plot: goodput with its interval as diamonds, the answered share as circles; empty for a single rate."""
    rows = sorted(summaries, key=lambda s: s.rate)
    if len(rows) < 2:
        return ""
    x = spanning([s.rate for s in rows], LEFT, RIGHT, log=rows[-1].rate > 8 * rows[0].rate)
    y = Scale(low=0.0, high=1.0, start=BOTTOM, end=TOP)
    parts = [
        x_axis(x, BOTTOM, TOP, "requests per second, as scheduled", show_number),
        y_axis(y, LEFT, RIGHT, "share of all requests sent", lambda v: f"{100 * v:.0f} %"),
        _curve([(x(s.rate), y(answered(s))) for s in rows], "curve k3 dashed"),
        *(
            marker(x(s.rate), y(answered(s)), "circle", "screened", f"{_name(s)}: answered {show_share(answered(s))}")
            for s in rows
        ),
    ]
    kept = [(s, s.goodput) for s in rows if s.goodput is not None]
    parts.append(_curve([(x(s.rate), y(g.estimate)) for s, g in kept], "curve"))
    for s, g in kept:
        tip = f"{_name(s)}: goodput {show_share(g.estimate)} [{show_share(g.low)}, {show_share(g.high)}]"
        parts += [
            line(x(s.rate), y(g.low), x(s.rate), y(g.high), "whisker"),
            marker(x(s.rate), y(g.estimate), "diamond", "result", tip),
        ]
    told = "; ".join(f"{_name(s)}: {_told(s)}" for s in rows)
    return figure("goodput", "Goodput per rate", f"{told}.", WIDTH, HEIGHT, parts)


def answered(summary: Summary) -> float:
    """Return the share of everything sent that was answered."""
    return summary.account["ok"] / max(1, summary.account["sent"])


def _name(summary: Summary) -> str:
    return show_per_second(summary.rate)


def _told(summary: Summary) -> str:
    goodput = f", goodput {show_share(summary.goodput.estimate)}" if summary.goodput else ""
    return f"answered {show_share(answered(summary))}{goodput}"


def _curve(places: Sequence[tuple[float, float]], class_: str) -> str:
    return tag("polyline", points=" ".join(f"{px:.1f},{py:.1f}" for px, py in places), class_=class_) if len(places) > 1 else ""
