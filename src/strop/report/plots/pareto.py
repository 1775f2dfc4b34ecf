"""Latency against quality of every recipe that was tried."""

from __future__ import annotations

from strop.report.parts import Pareto, ParetoPoint
from strop.report.svg import Labels, Scale, even, figure, line, marker, plain, spanning, tag, text, x_axis, y_axis
from strop.units import show_number, show_seconds

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 944.0, 390.0, 56.0, 928.0, 34.0, 340.0


def draw(pareto: Pareto | None) -> str:
    """Return the plot: confirmed points filled, screened ones hollow and grey, the area below the quality limit hatched."""
    if pareto is None or not pareto.points:
        return ""
    times = [p.latency for p in pareto.points]
    x = spanning(times, LEFT, RIGHT, log=max(times) > 3 * min(times) > 0)
    limits = [] if pareto.limit is None else [pareto.limit]
    y = spanning([*(p.quality for p in pareto.points), *limits], BOTTOM, TOP, margin=0.12)
    if not pareto.higher_is_better:
        y = Scale(low=y.low, high=y.high, start=TOP, end=BOTTOM)
    parts = [
        _forbidden(pareto, y),
        x_axis(x, BOTTOM, TOP, f"median latency at {pareto.point} (faster to the left)", lambda v: plain(show_seconds(v))),
        y_axis(y, LEFT, RIGHT, pareto.metric, even(y.ticks(6))),
        _front(pareto, x, y),
        _points(pareto, x, y),
    ]
    return figure("pareto", "Latency against quality", _description(pareto), WIDTH, HEIGHT, parts)


def front(pareto: Pareto) -> list[ParetoPoint]:
    """Return the points no other point beats in both respects, fastest first."""
    sign = 1 if pareto.higher_is_better else -1
    best: list[ParetoPoint] = []
    for point in sorted(pareto.points, key=lambda p: (p.latency, -sign * p.quality)):
        if not best or sign * point.quality > sign * best[-1].quality:
            best.append(point)
    return best


def _forbidden(pareto: Pareto, y: Scale) -> str:
    if pareto.limit is None:
        return ""
    place = y(pareto.limit)
    pattern = tag(
        "defs",
        tag(
            "pattern",
            tag("path", d="M0 7L7 0", class_="hatch"),
            id="pareto-hatch",
            width=7,
            height=7,
            patternUnits="userSpaceOnUse",
        ),
    )
    area = tag("rect", x=LEFT, y=place, width=RIGHT - LEFT, height=max(0.0, BOTTOM - place), fill="url(#pareto-hatch)")
    words = text(RIGHT - 6, place - 6, "quality budget: nothing below may be kept", class_="t dim halo", anchor="end")
    return pattern + area + line(LEFT, place, RIGHT, place, "limit") + words


def _front(pareto: Pareto, x: Scale, y: Scale) -> str:
    places = [(x(p.latency), y(p.quality)) for p in front(pareto)]
    if len(places) < 2:
        return ""
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}" + "".join(f"H{px:.1f}V{py:.1f}" for px, py in places[1:])
    return tag("path", d=path, class_="front")


def _points(pareto: Pareto, x: Scale, y: Scale) -> str:
    labels = Labels(LEFT, TOP - 12, RIGHT, BOTTOM)
    if pareto.limit is not None:
        labels.block(RIGHT - 130, y(pareto.limit) - 9, 130, 8)
    drawn = []
    order = sorted(pareto.points, key=lambda p: (p.phase == "confirm", p.label == "result"))
    for p in order:
        labels.block(x(p.latency), y(p.quality))
        shape, look = _look(p)
        tip = f"{p.label}: {show_seconds(p.latency)}, {pareto.metric} {show_number(p.quality)} ({_phase(p)})"
        drawn.append(marker(x(p.latency), y(p.quality), shape, look, tip, 6.0 if p.phase == "confirm" else 4.0))
    named = [p for p in reversed(order) if p.phase == "confirm"] + ([p for p in front(pareto) if p.phase != "confirm"])
    texts = [labels.put(x(p.latency), y(p.quality), p.label, "t" if p.phase == "confirm" else "t dim") for p in named]
    return "".join(drawn + texts)


def _look(point: ParetoPoint) -> tuple[str, str]:
    if point.phase != "confirm":
        return "circle", "screened"
    return ("diamond", "result") if point.label == "result" else ("square", "original")


def _phase(point: ParetoPoint) -> str:
    phase = "confirmed" if point.phase == "confirm" else "screen only"
    return f"{phase}, {point.status}" if point.status else phase


def _description(pareto: Pareto) -> str:
    rows = [f"{p.label}: {show_seconds(p.latency)}, {show_number(p.quality)}, {_phase(p)}" for p in pareto.points[:80]]
    return f"Each recipe by its median latency at {pareto.point} and its {pareto.metric}. " + "; ".join(rows) + "."
