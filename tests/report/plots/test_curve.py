"""The loss curve: nothing is invented, nothing is left out silently, long runs stay small."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from strop.report.plots.curve import MOST, draw, running_mean


def test_without_two_finite_losses_there_is_no_plot() -> None:
    assert draw([], []) == "" and draw([1], [0.5]) == "" and draw([1, 2], [0.5, math.nan]) == ""


def test_the_running_mean_begins_at_the_first_value_and_keeps_a_constant() -> None:
    assert running_mean([3.0] * 5) == pytest.approx([3.0] * 5)
    assert running_mean([2.0, 0.0])[0] == 2.0 and 0 < running_mean([2.0, 0.0])[1] < 2


def test_the_description_tells_beginning_end_marks_and_what_is_missing() -> None:
    root = ET.fromstring(draw([1, 2, 3], [1.0, math.inf, 1.0], [(3, "epoch 1: 0.9")]))
    (told,) = [e.text or "" for e in root if e.tag == "desc"]
    assert "Loss from 1 at step 1 to 1 (running mean) at 3." in told
    assert "1 steps without a finite loss are left out." in told and "Step 3: epoch 1: 0.9." in told


def test_a_long_run_is_thinned_by_means() -> None:
    steps = list(range(1, 10 * MOST + 1))
    drawing = draw(steps, [1.0 + (s % 2) for s in steps])
    path = next(e for e in ET.fromstring(drawing) if e.attrib.get("class") == "join")
    assert path.attrib["d"].count("L") + 1 == MOST
    assert len({point.split(" ")[1] for point in path.attrib["d"][1:].split("L")}) == 1  # the means of pairs are all alike
