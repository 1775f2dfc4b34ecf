import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.report.svg import Labels, Scale, even, figure, line, marker, plain, spanning, tag, text, x_axis, y_axis


def test_tags_escape_attributes_and_text() -> None:
    assert (
        tag("rect", class_='a"b', stroke_width=2.0, x=1.26, skip=None)
        == '<rect class="a&quot;b" stroke-width="2" x="1.3"></rect>'
    )
    assert "&lt;b&gt;" in text(0, 0, "<b>")


def test_a_figure_is_xml_with_a_name_and_a_description() -> None:
    root = ET.fromstring(
        figure("k", "A <title>", 'says "so" & more', 100, 50, [line(0, 0, 1, 1, "grid"), marker(1, 1, "diamond", "x", "t<ip")])
    )
    assert root.attrib["role"] == "img"
    ids = root.attrib["aria-labelledby"].split()
    assert [root[0].attrib["id"], root[1].attrib["id"]] == ids
    assert root[0].text == "A <title>"


@pytest.mark.parametrize("shape", ["circle", "square", "diamond"])
def test_markers_carry_a_tip(shape: str) -> None:
    assert ET.fromstring(marker(1, 2, shape, "c", "t02: 1 ms"))[0].text == "t02: 1 ms"


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.booleans())
def test_a_scale_stays_inside_and_keeps_order(a: float, b: float, log: bool) -> None:
    scale = spanning([a, b], 10.0, 90.0, log=log)
    places = [scale(v) for v in sorted((a, b))]
    assert 10.0 <= places[0] <= places[1] <= 90.0
    assert scale(scale.low - 1 if not log else scale.low / 2) == 10.0
    assert scale(scale.high * 2) == pytest.approx(90.0)


@given(st.floats(1e-6, 1e6), st.floats(1.0001, 1e9), st.booleans())
def test_ticks_are_inside_and_few(low: float, ratio: float, log: bool) -> None:
    ticks = Scale(low=low, high=low * ratio, start=0, end=1, log=log).ticks()
    assert 1 <= len(ticks) <= 12
    assert all(low * (1 - 1e-9) <= t <= low * ratio * (1 + 1e-9) for t in ticks)
    assert ticks == sorted(ticks)


def test_nothing_infinite_or_absent_breaks_a_scale() -> None:
    assert spanning([math.inf, 1.0], 0, 1).high < math.inf
    assert spanning([], 0, 1, log=True).low > 0
    assert spanning([5.0], 0, 1).low < 5 < spanning([5.0], 0, 1).high


def test_ticks_are_written_short() -> None:
    assert [plain(t) for t in ("2.00 ms", "1.50 ms", "10.0 ms", "1.00 T", "100 G")] == ["2 ms", "1.5 ms", "10 ms", "1 T", "100 G"]
    show = even([0.88, 0.9])
    assert [show(0.88), show(0.9)] == ["0.88", "0.90"]


def test_axes_label_every_tick_they_have_room_for() -> None:
    scale = spanning([0.0, 10.0], 0.0, 400.0)
    for drawn, ticks in (
        (x_axis(scale, 100, 0, "time", str), scale.ticks()),
        (y_axis(scale, 0, 100, "time", str), scale.ticks(6)),
    ):
        assert "time" in drawn
        assert all(f">{t}<" in drawn for t in ticks)
    crowded = x_axis(spanning([0.0, 10.0], 0.0, 30.0), 100, 0, "", lambda v: f"{v:.6f}")
    assert crowded.count("<text") < 5


def test_labels_do_not_overlap_and_give_up_rather_than_leave_the_frame() -> None:
    labels = Labels(0, 0, 300, 60)
    drawn = [labels.put(150, 30, "a label") for _ in range(20)]
    assert drawn[0]
    assert drawn[-1] == ""
    assert len({d for d in drawn if d}) == len([d for d in drawn if d])
    assert Labels(0, 0, 20, 20).put(10, 10, "far too long for this frame") == ""


def test_a_blocked_place_is_left_free() -> None:
    labels = Labels(0, 0, 300, 60)
    labels.block(170, 30, 40, 10)
    assert 'text-anchor="start"' not in labels.put(150, 30, "abc").replace('y="21', "")
