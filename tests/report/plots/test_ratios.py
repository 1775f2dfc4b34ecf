import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.measure.result import Verdict
from strop.report import Claim, Samples
from strop.report.plots.ratios import MOST_DOTS, draw, quantile
from strop.testing.sample_report import comparison, samples


def _gate(point: str, estimate: float, verdict: Verdict = Verdict.FASTER) -> Claim:
    return Claim(comparisons=(comparison(point, estimate, verdict),))


def _count(svg: str, tag: str, class_: str) -> int:
    return sum(e.attrib.get("class") == class_ for e in ET.fromstring(svg).iter(tag))


def test_without_samples_there_is_no_plot() -> None:
    assert draw((), None) == ""
    assert draw((Samples(point="a", log_ratios=()),), None) == ""


def test_every_pair_is_a_dot_until_there_are_too_many() -> None:
    assert _count(draw((samples("a", 2.0, 80),), None), "circle", "dot") == 80
    many = _count(draw((samples("a", 2.0, 5000),), None), "circle", "dot")
    assert MOST_DOTS / 2 <= many <= MOST_DOTS


@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_interval_is_drawn_only_where_a_ratio_is_claimed(verdict: Verdict) -> None:
    svg = draw((samples("a", 2.0),), _gate("a", 2.0, verdict))
    proven = verdict not in (Verdict.UNDECIDED, Verdict.INVALID)
    assert _count(svg, "line", "claim") == proven
    assert ("×2.00 [1.94, 2.06]" in svg) == proven
    assert verdict.value in svg


def test_equal_speed_is_marked_when_near_and_pointed_at_when_far() -> None:
    near = draw((samples("a", 1.03),), None)
    assert _count(near, "line", "one") == 1
    assert "lies outside, to the left" in draw((samples("a", 6.0),), None)
    assert "lies outside, to the right" in draw((samples("a", 1 / 6),), None)


def test_the_box_is_the_middle_half() -> None:
    log_ratios = tuple(math.log(v) for v in (1.0, 1.1, 1.2, 1.3, 1.4))
    root = ET.fromstring(draw((Samples(point="a", log_ratios=log_ratios),), None))
    dots = sorted(float(e.attrib["cx"]) for e in root.iter("circle"))
    box = next(e for e in root.iter("rect"))
    assert float(box.attrib["x"]) == pytest.approx(dots[1], abs=0.11)
    assert float(box.attrib["x"]) + float(box.attrib["width"]) == pytest.approx(dots[3], abs=0.21)


def test_one_pair_and_equal_pairs_are_drawn() -> None:
    for values in ((0.0,), (0.5,), (0.0, 0.0, 0.0)):
        assert "nan" not in draw((Samples(point="a", log_ratios=values),), None)


def test_huge_ratios_keep_plain_ticks() -> None:
    svg = draw((samples("a", 1.0), samples("b", 12345.0)), None)
    assert "e+" not in svg
    assert "×10000" in svg


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_quantiles_run_from_the_least_to_the_greatest(values: list[float]) -> None:
    ordered = sorted(values)
    assert quantile(ordered, 0) == ordered[0]
    assert quantile(ordered, 1) == ordered[-1]
    assert ordered[0] <= quantile(ordered, 0.5) <= ordered[-1]


def test_the_median_of_an_even_number_lies_between() -> None:
    assert quantile([1.0, 2.0, 4.0, 8.0], 0.5) == 3.0
