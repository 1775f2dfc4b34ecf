import xml.etree.ElementTree as ET

from strop.report import RooflinePoint
from strop.report.plots.roofline import bound, draw
from strop.testing.sample_report import sample_report

ROOFS = {"gemm_float32": 1e11, "gemm_int8": 1e12, "read": 4e10}


def test_without_roofs_or_points_there_is_no_plot() -> None:
    points = sample_report().roofline
    assert draw({}, points) == ""
    assert draw({"gemm_float32": 1e11}, points) == ""
    assert draw({"read": 1e10}, points) == ""
    assert draw(ROOFS, ()) == ""
    assert draw(ROOFS, (RooflinePoint(label="unknown work", intensity=0.0, achieved=1e9),)) == ""


def test_the_bound_is_the_lower_of_both_roofs() -> None:
    assert bound(1e11, 4e10, 1.0) == 4e10
    assert bound(1e11, 4e10, 100.0) == 1e11


def test_every_roof_is_named_with_its_value() -> None:
    svg = draw(ROOFS, sample_report().roofline)
    for words in ("float32 100 GFLOP/s", "int8 1.00 TFLOP/s", "memory 40.0 GB/s"):
        assert words in svg


def test_points_carry_their_numbers_and_shapes() -> None:
    root = ET.fromstring(draw(ROOFS, sample_report().roofline))
    tips = {e.find("title").text: e.tag for e in root.iter() if e is not root and e.find("title") is not None}  # type: ignore[union-attr]
    assert tips["original, batch 1: 21.0 GFLOP/s at 14 FLOP per byte"] == "rect"
    assert tips["result, batch 1: 135 GFLOP/s at 55 FLOP per byte"] == "path"


def test_a_point_on_the_roof_is_drawn_on_it() -> None:
    points = (RooflinePoint(label="on the roof", intensity=50.0, achieved=1e11),)
    root = ET.fromstring(draw(ROOFS, points))
    square = next(e for e in root.iter("rect"))
    middle = float(square.attrib["y"]) + float(square.attrib["height"]) / 2
    levels = [
        float(e.attrib["d"].split("L")[-1].split(" ")[1].split("H")[0]) for e in root.iter("path") if e.attrib["class"] == "roof"
    ]
    assert min(abs(level - middle) for level in levels) < 0.2


def test_copy_stands_in_for_read() -> None:
    assert "memory 30.0 GB/s" in draw({"gemm_float32": 1e11, "copy": 3e10}, sample_report().roofline)
