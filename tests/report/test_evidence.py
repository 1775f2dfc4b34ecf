from strop.report import Claim, ColdStart, Footprint
from strop.testing.sample_report import comparison


def test_the_whole_is_the_comparison_named_all() -> None:
    claim = Claim(comparisons=(comparison("a", 2.0), comparison("b", 3.0), comparison("all", 2.4)))
    whole = claim.over_all()
    assert whole is not None
    assert whole.speedup.estimate == 2.4
    assert [c.point for c in claim.per_point()] == ["a", "b"]


def test_a_single_point_is_its_own_whole() -> None:
    whole = Claim(comparisons=(comparison("a", 2.0),)).over_all()
    assert whole is not None
    assert whole.point == "a"


def test_several_points_without_a_joint_comparison_have_no_whole() -> None:
    assert Claim(comparisons=(comparison("a", 2.0), comparison("b", 3.0))).over_all() is None
    assert Claim(comparisons=()).over_all() is None


def test_nothing_is_measured_until_somebody_says_so() -> None:
    assert Footprint() == Footprint(process_peak=None, tensor_peak=None, disk=None)
    assert ColdStart(marks=()).speedup is None
