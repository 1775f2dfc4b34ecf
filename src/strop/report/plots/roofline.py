"""The roofline: measured limits of the machine, and where the model runs under them.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strop.report.parts import RooflinePoint
from strop.report.svg import Labels, Scale, figure, marker, plain, spanning, tag, text, x_axis, y_axis
from strop.units import show_number, show_rate

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 944.0, 400.0, 56.0, 928.0, 34.0, 350.0


def draw(roofs: Mapping[str, float], points: Sequence[RooflinePoint]) -> str:
    """Return the plot, or an empty string when bandwidth, a compute roof or the points are missing."""
    flops = {name.removeprefix("gemm_"): roof for name, roof in roofs.items() if name.startswith("gemm_") and roof > 0}
    bandwidth = roofs.get("read") or roofs.get("copy") or 0.0
    points = [p for p in points if p.intensity > 0 and p.achieved > 0]
    if not flops or bandwidth <= 0 or not points:
        return ""
    ridges = [roof / bandwidth for roof in flops.values()]
    x = spanning([*(p.intensity for p in points), min(ridges) / 8, max(ridges) * 6], LEFT, RIGHT, log=True, margin=0.02)
    y = spanning(
        [*(p.achieved for p in points), *flops.values(), min(ridges) / 8 * bandwidth], BOTTOM, TOP, log=True, margin=0.05
    )
    labels = Labels(LEFT, TOP - 14, RIGHT, BOTTOM)
    parts = [
        x_axis(x, BOTTOM, TOP, "arithmetic intensity (FLOP per byte)", show_number),
        y_axis(y, LEFT, RIGHT, "FLOP/s", lambda v: plain(show_rate(v, ""))),
        _roofs(flops, bandwidth, x, y, labels),
        _points(points, x, y, labels),
    ]
    return figure("roofline", "Roofline", _description(flops, bandwidth, points), WIDTH, HEIGHT, parts)


def bound(flops: float, bandwidth: float, intensity: float) -> float:
    """Return the attainable FLOP/s: the lower of the compute roof and bandwidth × intensity."""
    return min(flops, bandwidth * intensity)


def _roofs(flops: Mapping[str, float], bandwidth: float, x: Scale, y: Scale, labels: Labels) -> str:
    parts = []
    start = max(x.low, y.low / bandwidth)
    for name, roof in sorted(flops.items(), key=lambda item: item[1]):
        ridge = min(max(roof / bandwidth, start), x.high)
        corner = bound(roof, bandwidth, ridge)
        path = f"M{x(start):.1f} {y(bandwidth * start):.1f}L{x(ridge):.1f} {y(corner):.1f}H{RIGHT:.1f}"
        parts.append(tag("path", d=path, class_="roof"))
        words = f"{name} {show_rate(roof, 'FLOP/s')}"
        parts.append(text(RIGHT - 4, y(corner) - 6, words, class_="t dim halo", anchor="end"))
        labels.block(RIGHT - 75, y(corner) - 10, 75, 8)
    middle = (start * min(flops.values()) / bandwidth) ** 0.5
    words = f"memory {show_rate(bandwidth, 'B/s')}"
    parts.append(text(x(middle) - 10, y(bandwidth * middle) - 6, words, class_="t dim halo", anchor="end"))
    return "".join(parts)


def _points(points: Sequence[RooflinePoint], x: Scale, y: Scale, labels: Labels) -> str:
    drawn, texts = [], []
    for p in points:
        labels.block(x(p.intensity), y(p.achieved))
    for p in sorted(points, key=lambda p: not p.result):
        tip = f"{p.label}: {show_rate(p.achieved, 'FLOP/s')} at {show_number(p.intensity)} FLOP per byte"
        shape, look = ("diamond", "result") if p.result else ("square", "original")
        drawn.append(marker(x(p.intensity), y(p.achieved), shape, look, tip, 6.0))
        texts.append(labels.put(x(p.intensity), y(p.achieved), p.label))
    return "".join(drawn + texts)


def _description(flops: Mapping[str, float], bandwidth: float, points: Sequence[RooflinePoint]) -> str:
    roofs = ", ".join(f"{name} {show_rate(roof, 'FLOP/s')}" for name, roof in flops.items())
    places = "; ".join(f"{p.label} {show_rate(p.achieved, 'FLOP/s')} at {show_number(p.intensity)} FLOP per byte" for p in points)
    return f"Measured roofs: {roofs}; memory {show_rate(bandwidth, 'B/s')}. {places}."
