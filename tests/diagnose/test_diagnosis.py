from __future__ import annotations

import json

from strop.diagnose.diagnosis import Bottleneck, Diagnosis, OperatorShare, PointDiagnosis, Suggestion


def point(bottleneck: Bottleneck = Bottleneck.COMPUTE, **changes: object) -> PointDiagnosis:
    values: dict[str, object] = {
        "point": "batch 1",
        "bottleneck": bottleneck,
        "seconds": 0.010,
        "operators": (OperatorShare("aten::addmm", 0.75, 12), OperatorShare("aten::gelu", 0.25, 6)),
        "operator_calls": 18,
        "product_share": 0.75,
        "overhead_share": 0.1,
        "flops": 10**9,
        "uncounted": ("aten::lstm",),
        "traffic": 10**8,
        "bound": 0.005,
    }
    return PointDiagnosis(**{**values, **changes})  # type: ignore[arg-type]


DIAGNOSIS = Diagnosis(
    points=(point(), point(Bottleneck.OVERHEAD, overhead_share=0.5)),
    suggestions=(Suggestion(47, "model_serving_framework", "because", 2.5),),
)


def test_it_survives_json() -> None:
    assert Diagnosis.from_json(json.loads(json.dumps(DIAGNOSIS.to_json()))) == DIAGNOSIS


def test_derived_numbers_follow_from_their_definitions() -> None:
    row = DIAGNOSIS.to_json()["points"][0]
    assert (row["intensity"], row["achieved"], row["roof_share"]) == (10.0, 1e11, 0.5)
    assert row["suggestions"] == [{"instruction": "47 model_serving_framework", "reason": "because"}]


def test_the_reason_gives_its_numbers_and_what_was_not_counted() -> None:
    assert point().reason == (
        "10.0 ms per call, 18 operators, 75.0 % of their time in products, 10.0 % overhead, 1 GFLOP at 10 FLOP per byte, "
        "50.0 % of the roof; not counted: aten::lstm"
    )
    assert "roofs not measured" in point(bound=0.0).reason


def test_notes_are_means_and_shares_over_the_points() -> None:
    notes = DIAGNOSIS.notes
    assert (notes["compute_bound"], notes["memory_bound"], notes["overhead_bound"]) == (0.5, 0.0, 0.5)
    assert notes["overhead_share"] == 0.3


def test_no_traffic_is_no_division() -> None:
    assert point(traffic=0).intensity == 0


def test_more_than_the_roof_of_main_memory_is_said_to_be_so() -> None:
    """What a cache holds is read faster than the memory that the roofs were measured in; "224 % of the roof" says nothing."""
    above = point(seconds=0.005, bound=0.0112).reason
    assert "224" not in above and "above main memory's roof: in a cache" in above
