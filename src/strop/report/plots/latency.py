"""Latency of a load: how it is distributed, and how it went over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from strop.load.arrivals import FloatArray
from strop.load.samples import Outcome, Samples
from strop.report.svg import Labels, Scale, figure, line, plain, spanning, tag, text, x_axis, y_axis
from strop.units import Seconds, show_per_second, show_seconds, show_share

WIDTH, LEFT, RIGHT, TOP = 944.0, 64.0, 928.0, 40.0
MOST_POINTS = 300
WINDOWS = 60
"""Parts of the run; each shows the percentiles of the requests that were due in it."""


def draw_distribution(runs: Sequence[tuple[float, Samples]], objective: Seconds | None) -> str:
    """Return the cumulative distribution of the latency at each rate.

    A curve ends at the share that was answered, because the denominator is everything that was sent.

    Args:
        runs: requests per second, samples.
        objective: seconds, drawn as a limit; ``None``: none.
    """
    curves = [(rate, *_distribution(samples)) for rate, samples in runs]
    curves = [curve for curve in curves if len(curve[1])]
    if not curves:
        return ""
    bottom = 300.0
    reach = [float(v) for _, values, _ in curves for v in (values[0], values[-1])] + ([objective] if objective else [])
    x = spanning([max(v, 1e-6) for v in reach], LEFT, RIGHT, log=True, margin=0.03)
    y = Scale(low=0.0, high=1.0, start=bottom, end=TOP)
    parts = [
        x_axis(x, bottom, TOP, "latency from the scheduled time", lambda v: plain(show_seconds(v))),
        y_axis(y, LEFT, RIGHT, "share of all requests sent", lambda v: f"{100 * v:.0f} %"),
        _limit(x, objective, bottom),
    ]
    labels = Labels(LEFT, TOP - 12, RIGHT, bottom)
    for place, (rate, values, shares) in enumerate(curves):
        points = " ".join(f"{x(v):.1f},{y(s):.1f}" for v, s in zip(values, shares, strict=True))
        parts.append(tag("polyline", points=points, class_=f"curve k{place % 4}" + (" dashed" if place >= 4 else "")))
        middle = len(values) // 2
        parts.append(labels.put(x(values[middle]), y(shares[middle]), show_per_second(rate)))
    told = [f"{show_per_second(rate)}: {show_share(shares[-1])} answered" for rate, _, shares in curves]
    return figure("distribution", "Distribution of the latency", "; ".join(told) + ".", WIDTH, bottom + 48, parts)


def draw_course(key: str, samples: Samples, end: Seconds, objective: Seconds | None) -> str:
    """Return p50 and p99 over time, above a strip of the requests that were not answered.

    Args:
        key: distinguishes the drawings of a page.
        samples: of one rate.
        end: length of the schedule, seconds.
        objective: seconds, drawn as a limit; ``None``: none.
    """
    window = np.clip(samples.scheduled / end * WINDOWS, 0, WINDOWS - 1).astype(np.int64)
    ok, sent = samples.outcome == Outcome.OK, np.isfinite(samples.sent)
    rows = [(number, samples.latency[ok & (window == number)]) for number in range(WINDOWS)]
    rows = [(number, latency) for number, latency in rows if len(latency)]
    if not rows:
        return ""
    bottom, strip = 270.0, 330.0
    p50, p99 = ([float(np.quantile(latency, share)) for _, latency in rows] for share in (0.5, 0.99))
    y = spanning([*p50, *p99, *([objective] if objective else [])], bottom, TOP, log=True)
    x = Scale(low=0.0, high=end, start=LEFT, end=RIGHT)
    centres = [(number + 0.5) * end / WINDOWS for number, _ in rows]
    parts = [
        x_axis(x, strip, TOP, "scheduled time since the start", lambda v: plain(show_seconds(v))),
        y_axis(y, LEFT, RIGHT, "latency: p50 (dark), p99 (bright)", lambda v: plain(show_seconds(v))),
        line(LEFT, y(objective), RIGHT, y(objective), "limit") if objective else "",
        _line(x, y, centres, p99, "curve"),
        _line(x, y, centres, p50, "curve k1"),
        text(0, bottom + 30, "lost", class_="t dim"),
    ]
    for number in range(WINDOWS):
        here = window == number
        lost = float((here & sent & ~ok).sum()) / max(1, int((here & sent).sum()))
        if lost:
            left, right = x(number * end / WINDOWS), x((number + 1) * end / WINDOWS)
            tip = tag("title", f"{show_share(lost)} not answered")
            high = lost * (strip - bottom - 16)
            parts.append(tag("rect", tip, x=left, y=strip - high, width=right - left - 1, height=high, class_="lost"))
    told = f"p50 between {show_seconds(min(p50))} and {show_seconds(max(p50))}, p99 up to {show_seconds(max(p99))}."
    return figure(key, "Latency over time", told, WIDTH, strip + 48, parts)


def _distribution(samples: Samples) -> tuple[FloatArray, FloatArray]:
    latency = np.sort(samples.latency[samples.outcome == Outcome.OK])
    sent = int(np.isfinite(samples.sent).sum())
    places = np.unique(np.linspace(0, len(latency) - 1, min(MOST_POINTS, len(latency))).round().astype(np.int64))
    return latency[places], (places + 1) / max(1, sent)


def _limit(x: Scale, objective: Seconds | None, bottom: float) -> str:
    if objective is None:
        return ""
    words = f"objective {show_seconds(objective)}"
    return line(x(objective), TOP - 8, x(objective), bottom, "limit") + text(
        x(objective), TOP - 14, words, class_="t dim", anchor="middle"
    )


def _line(x: Scale, y: Scale, times: Sequence[float], values: Sequence[float], class_: str) -> str:
    points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times, values, strict=True))
    return tag("polyline", points=points, class_=class_)
