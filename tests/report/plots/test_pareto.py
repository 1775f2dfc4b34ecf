import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from strop.report import Pareto, ParetoPoint
from strop.report.plots.pareto import draw, front
from strop.testing.sample_report import sample_report


def _points(*rows: tuple[str, float, float, str]) -> Pareto:
    return Pareto(
        point="batch 1",
        metric="accuracy",
        points=tuple(ParetoPoint(label=a, latency=b, quality=c, phase=d) for a, b, c, d in rows),
    )


def _places(svg: str) -> dict[str, tuple[float, float]]:
    """Return label → centre of its marker, read from the drawing."""
    found = {}
    for element in ET.fromstring(svg).iter():
        title = element.find("title")
        if title is None or element.tag == "svg":
            continue
        label = (title.text or "").split(":")[0]
        a = element.attrib
        if element.tag == "circle":
            found[label] = (float(a["cx"]), float(a["cy"]))
        elif element.tag == "rect":
            found[label] = (float(a["x"]) + float(a["width"]) / 2, float(a["y"]) + float(a["height"]) / 2)
        else:
            x, y = re.findall(r"-?[\d.]+", a["d"])[:2]
            found[label] = (float(x), float(y))
    return found


def test_without_points_there_is_no_plot() -> None:
    assert draw(None) == ""
    assert draw(_points()) == ""


def test_faster_is_left_and_better_is_up() -> None:
    places = _places(
        draw(_points(("slow", 0.010, 0.9, "confirm"), ("fast", 0.001, 0.9, "confirm"), ("bad", 0.001, 0.5, "screen")))
    )
    assert places["fast"][0] < places["slow"][0]
    assert places["bad"][1] > places["fast"][1]


def test_where_lower_is_better_lower_is_up() -> None:
    pareto = _points(("good", 0.01, 3.1, "confirm"), ("bad", 0.01, 7.4, "screen"))
    places = _places(draw(replace(pareto, higher_is_better=False, metric="perplexity")))
    assert places["bad"][1] > places["good"][1]


def test_screened_points_are_hollow_and_say_screen_only() -> None:
    svg = draw(sample_report().pareto)
    root = ET.fromstring(svg)
    for element in root.iter():
        title = element.find("title")
        if title is not None and element is not root:
            screened = "screen only" in (title.text or "")
            assert (element.attrib["class"] == "screened") == screened
            assert (element.tag == "circle") == screened


def test_the_front_holds_exactly_what_nothing_beats() -> None:
    pareto = _points(
        ("a", 1.0, 0.5, "screen"),
        ("b", 2.0, 0.7, "screen"),
        ("c", 3.0, 0.6, "screen"),
        ("d", 4.0, 0.9, "screen"),
        ("e", 2.0, 0.6, "screen"),
    )
    assert [p.label for p in front(pareto)] == ["a", "b", "d"]
    assert [p.label for p in front(replace(pareto, higher_is_better=False))] == ["a"]


def test_a_forbidden_area_is_named_not_only_coloured() -> None:
    svg = draw(sample_report().pareto)
    assert "quality budget: nothing below may be kept" in svg
    assert 'class="limit"' in svg
    assert "limit" not in draw(replace(sample_report().pareto, limit=None)).replace("clip", "")  # type: ignore[type-var]


def test_one_point_and_equal_points_are_drawn() -> None:
    assert "only" in draw(_points(("only", 0.01, 0.9, "confirm")))
    same = draw(_points(("a", 0.01, 0.9, "confirm"), ("b", 0.01, 0.9, "confirm")))
    assert "nan" not in same
