"""The scripted clock and arm."""

from strop.measure.collect import Visited
from strop.measure.result import Counters
from strop.testing.scripted import ScriptedArm, ScriptedClock


def test_the_clock_moves_only_when_told() -> None:
    clock = ScriptedClock(5)
    assert clock() == clock() == 5
    clock.pass_ns(10)
    clock.sleep(0.001)
    assert clock() == 1_000_015


def test_an_arm_follows_its_script_and_keeps_a_record() -> None:
    clock = ScriptedClock()
    arm: Visited = ScriptedArm("baseline", lambda point, index, now: 100 + index + now, clock, {"p": 4}, Counters(wall_ns=7))
    block = arm.block("p", [1, 2, 3], 1)
    assert block.calls_ns == (100 + 2 + 101, 100 + 3 + 304)
    assert block.counters.wall_ns == 7
    assert clock() == 101 + 203 + 407
    assert isinstance(arm, ScriptedArm)
    assert arm.visits == [("p", (1, 2, 3), 1)]
    assert not arm.parked
    arm.park()
    assert arm.parked
