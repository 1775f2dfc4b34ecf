"""Voiding: by counters alone, alike for both arms, and never in favour of an arm that disturbs itself."""

from __future__ import annotations

import pytest

from strop.measure.result import Block, Counters, Pair
from strop.measure.voiding import TICK_NS, asymmetry, blocks_void_reason, void_reason

SECOND = 1_000_000_000
QUIET = Counters(wall_ns=SECOND, own_cpu_ns=2 * SECOND, foreign_cpu_ns=SECOND // 20, involuntary_switches=300)


def busy(share: float, cores: int = 2) -> Counters:
    return Counters(wall_ns=SECOND, foreign_cpu_ns=int(share * cores * SECOND))


def pair(voided: str | None) -> Pair:
    return Pair(index=0, round=0, candidate_first=True, blocks=(), voided=voided)


def test_a_quiet_pair_stands() -> None:
    assert void_reason(QUIET, QUIET, 2) is None


@pytest.mark.parametrize(
    ("first", "second", "blamed"), [(True, False, "baseline: "), (False, True, "candidate: "), (True, True, "both: ")]
)
@pytest.mark.parametrize(
    ("disturbed", "says"),
    [
        (busy(0.15), "others used 15.0 %"),
        (Counters(wall_ns=SECOND, steal_ns=SECOND // 2), "others used 25.0 %"),
        (Counters(wall_ns=SECOND, foreign_cpu_ns=SECOND // 8, steal_ns=SECOND // 8), "others used 12.5 %"),
        (Counters(wall_ns=SECOND, major_faults=3), "3 pages were read from disk"),
    ],
)
def test_a_disturbed_pair_names_arm_and_cause(first: bool, second: bool, blamed: str, disturbed: Counters, says: str) -> None:
    reason = void_reason(disturbed if first else QUIET, disturbed if second else QUIET, 2)
    assert reason is not None
    assert reason.startswith(blamed)
    assert says in reason


def test_the_limit_is_ten_per_cent_and_one_tick_of_the_counters() -> None:
    limit = 2 * SECOND // 10 + TICK_NS
    assert void_reason(Counters(wall_ns=SECOND, foreign_cpu_ns=limit), QUIET, 2) is None
    assert void_reason(Counters(wall_ns=SECOND, foreign_cpu_ns=limit + 1), QUIET, 2) is not None
    short = Counters(wall_ns=10_000_000, foreign_cpu_ns=TICK_NS)
    assert void_reason(short, short, 2) is None


def test_arms_are_treated_alike() -> None:
    there, back = void_reason(busy(0.2), QUIET, 2), void_reason(QUIET, busy(0.2), 2)
    assert there is not None
    assert back is not None
    assert there.removeprefix("baseline") == back.removeprefix("candidate")


def test_the_rule_never_sees_a_timing() -> None:
    """The same counters give the same answer whatever the calls took."""
    for calls in ((1,), (10**12,), (5, 5, 10**9)):
        blocks = (
            Block(arm="baseline", point="p", calls_ns=calls, counters=QUIET),
            Block(arm="candidate", point="p", calls_ns=(7,), counters=busy(0.3)),
        )
        assert blocks_void_reason(blocks, 2) == void_reason(QUIET, busy(0.3), 2)


def test_the_points_of_a_pair_are_counted_together() -> None:
    blocks = tuple(
        Block(arm=arm, point=point, calls_ns=(1,), counters=busy(share))
        for arm in ("baseline", "candidate")
        for point, share in (("short", 0.18), ("long", 0.0))
    )
    assert blocks_void_reason(blocks, 2) is None


def test_one_sided_voiding_is_found_and_even_voiding_is_not() -> None:
    assert asymmetry([]) is None
    assert asymmetry([pair(None)] * 50) is None
    assert asymmetry([pair("both: x")] * 50) is None
    assert asymmetry([pair("baseline: x"), pair("candidate: x")] * 20) is None
    assert asymmetry([pair("candidate: x")] * 7) is None
    found = asymmetry([pair("candidate: x")] * 8)
    assert found is not None
    assert "0 of the baseline alone, 8 of the candidate alone" in found
