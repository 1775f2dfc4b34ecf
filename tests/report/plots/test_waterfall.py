import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from strop.measure.result import Verdict
from strop.report import Ablation, Claim
from strop.report.plots.waterfall import draw
from strop.testing.sample_report import comparison, interval, sample_report


def _gate(estimate: float, verdict: Verdict = Verdict.FASTER) -> Claim:
    return Claim(comparisons=(comparison("all", estimate, verdict),))


def _bars(svg: str) -> list[tuple[str, float, float]]:
    """Return look, left and right end of every bar."""
    bars = [e for e in ET.fromstring(svg).iter("rect") if "bar" in e.attrib["class"]]
    return [(e.attrib["class"].split()[1], float(e.attrib["x"]), float(e.attrib["x"]) + float(e.attrib["width"])) for e in bars]


def _kept(*estimates: float) -> list[Ablation]:
    return [
        Ablation(instruction=f"{n:02d} x", contribution=interval(e), verdict="kept", phase="confirm")
        for n, e in enumerate(estimates)
    ]


def test_nothing_measured_is_no_plot() -> None:
    assert draw((), None) == ""
    assert draw([Ablation(instruction="29 x")], _gate(2.0)) == ""


def test_each_bar_starts_where_the_last_ended_and_the_sum_reaches_the_whole() -> None:
    steps = _bars(draw(_kept(2.0, 1.5), _gate(3.0)))
    assert [look for look, _, _ in steps] == ["step", "step", "total"]
    assert steps[1][1] == pytest.approx(steps[0][2], abs=0.2)
    assert steps[2][1] == pytest.approx(steps[0][1], abs=0.2)
    assert steps[2][2] == pytest.approx(steps[1][2], abs=0.2)


def test_bars_are_long_by_the_logarithm() -> None:
    (_, a, b), (_, c, d), *_ = _bars(draw(_kept(4.0, 2.0), None))
    assert (b - a) / (d - c) == pytest.approx(math.log(4) / math.log(2), rel=0.02)


def test_what_the_parts_do_not_explain_has_its_own_bar() -> None:
    svg = draw(_kept(2.0, 2.0), _gate(3.0))
    assert "overlap and interplay" in svg
    assert "×0.75" in svg
    assert [look for look, _, _ in _bars(svg)] == ["step", "step", "rest", "total"]


@pytest.mark.parametrize("verdict", [Verdict.UNDECIDED, Verdict.INVALID])
def test_an_unproven_whole_is_not_drawn(verdict: Verdict) -> None:
    svg = draw(_kept(2.0), _gate(3.3333, verdict))
    assert "together" not in svg
    assert "3.33" not in svg


def test_what_was_only_screened_is_hollow_and_says_so() -> None:
    seen, known = _kept(1.5, 2.0)
    svg = draw([replace(seen, phase="screen"), known], None)
    assert [look for look, _, _ in _bars(svg)] == ["step", "seen"]
    assert svg.count("screen only</text>") == 1


def test_dropped_instructions_are_left_out_and_unmeasured_ones_say_so() -> None:
    svg = draw(
        [
            *_kept(2.0),
            Ablation(instruction="31 gone", contribution=interval(1.0), verdict="dropped"),
            Ablation(instruction="38 y"),
        ],
        None,
    )
    assert "31 gone" not in svg
    assert re.search(r"38 y</text>.*not measured", svg)


def test_long_names_are_shortened_and_everything_stays_inside() -> None:
    rows = [replace(a, instruction="29 " + "long" * 30) for a in _kept(*[1.4] * 12)]
    svg = draw(rows, _gate(1.4**12))
    assert "…" in svg
    root = ET.fromstring(svg)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    for e in root.iter("text"):
        assert 0 <= float(e.attrib["x"]) <= width
        assert 0 <= float(e.attrib["y"]) <= height


def test_the_sample_is_described_in_words() -> None:
    description = ET.fromstring(draw(sample_report().ablation, sample_report().gate)).find("desc")
    assert description is not None
    assert "together, confirmed: ×6.14 [6.02, 6.26]" in (description.text or "")
