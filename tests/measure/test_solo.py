"""Solo stretches beside pairs."""

from pathlib import Path

import pytest

from strop.measure.arm import Arm, ArmSpec
from strop.measure.collect import BlockPlan, PointPlan, PointProfile
from strop.measure.result import Block
from strop.measure.solo import solo_finding, solo_stretch


def block(*calls: int) -> Block:
    return Block(arm="x", point="p", calls_ns=calls)


def test_a_stretch_makes_the_calls_that_fit_and_parks_the_arm(tmp_path: Path) -> None:
    spec = ArmSpec(name="baseline", target="strop.testing.tiny:tiny", arguments={"points": {"a": 4, "b": 2}, "units": 2})
    plan = BlockPlan(points={"a": PointPlan(discards=2, timed=9), "b": PointPlan(discards=0, timed=1)})
    profiles = {"a": PointProfile(call_seconds=0.01, discards=2), "b": PointProfile(call_seconds=0.2, discards=0)}
    with Arm.start(spec, seed=1, log=tmp_path / "a.log") as arm:
        arm.load()
        arm.park()
        stretch = solo_stretch(arm, profiles, plan, seed=1, seconds=1.0)
        assert arm.parked
    assert {point: len(taken.calls_ns) for point, taken in stretch.items()} == {"a": 50, "b": 3}


@pytest.mark.parametrize(("paired", "told"), [(2.0, False), (1.95, False), (2.05, False), (1.9, True), (2.2, True)])
def test_a_solo_ratio_is_told_when_it_differs_by_more_than_three_percent(paired: float, told: bool) -> None:
    finding = solo_finding("p", block(20, 22, 18), block(10, 11, 9, 500, 500), paired)
    assert (finding is not None) == told
    if finding:
        assert finding.code == "switch-sensitive"
        assert "×2.000" in finding.message
        assert f"×{paired:.3f}" in finding.message


def test_only_the_calls_on_common_inputs_are_compared() -> None:
    assert solo_finding("p", block(20, 20), block(10, 10, 90, 90, 90), 2.0) is None
