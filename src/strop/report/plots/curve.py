"""The loss over the steps of a training: every step faint, its running mean strong, and what was judged on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence

from strop.report.svg import figure, marker, plain, spanning, tag, text, x_axis, y_axis
from strop.units import show_number

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 944.0, 320.0, 56.0, 928.0, 34.0, 270.0
MOST = 2000
"""Points drawn; of a longer run each is the mean of several steps."""

MEMORY = 0.9
"""Weight of the past in the running mean, per point drawn."""


def draw(steps: Sequence[int], losses: Sequence[float], marks: Sequence[tuple[int, str]] = ()) -> str:
    """Return the plot, or an empty string without two finite losses.

    Args:
        steps: numbers of the steps, rising.
        losses: the loss of each.
        marks: step → words to be written there, for instance a metric after an epoch.
    """
    points = _thinned([(s, v) for s, v in zip(steps, losses, strict=True) if math.isfinite(v)])
    if len(points) < 2:
        return ""
    x = spanning([s for s, _ in points], LEFT, RIGHT, margin=0.01)
    y = spanning([v for _, v in points], BOTTOM, TOP, margin=0.05)
    smooth = running_mean([v for _, v in points])
    parts = [
        x_axis(x, BOTTOM, TOP, "optimizer step", show_number),
        y_axis(y, LEFT, RIGHT, "loss", lambda v: plain(show_number(v))),
        tag("path", d=_path([(x(s), y(v)) for s, v in points]), class_="join", fill="none"),
        tag("path", d=_path([(x(s), y(v)) for (s, _), v in zip(points, smooth, strict=True)]), class_="claim", fill="none"),
        *(marker(x(s), BOTTOM, "diamond", "result", words, 4.0) for s, words in marks),
        *(text(x(s), TOP - 4, words, class_="t dim", anchor="end") for s, words in marks[-1:]),
    ]
    lost = len(losses) - sum(map(math.isfinite, losses))
    told = (
        f"Loss from {show_number(losses[0])} at step {steps[0]} to {show_number(smooth[-1])} (running mean) at {points[-1][0]}."
    )
    told += f" {lost} steps without a finite loss are left out." if lost else ""
    return figure("loss", "Loss", " ".join([told, *(f"Step {s}: {words}." for s, words in marks)]), WIDTH, HEIGHT, parts)


def running_mean(values: Sequence[float]) -> list[float]:
    """Return the exponential running mean, without the pull of a first value (Kingma and Ba, 2015, section 3)."""
    found, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = MEMORY * total + (1 - MEMORY) * value, MEMORY * weight + 1 - MEMORY
        found.append(total / weight)
    return found


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    size = math.ceil(len(points) / MOST)
    groups = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [(group[-1][0], sum(v for _, v in group) / len(group)) for group in groups]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
