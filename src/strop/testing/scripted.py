"""A clock and an arm that follow a script, for tests of anything that measures without processes and without waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from strop.measure.result import Block, Counters

CallTime = Callable[[str, int, int], int]
"""(operating point, input, time now) → nanoseconds the call takes."""


class ScriptedClock:
    """Nanoseconds that pass only when told to; call it to read it."""

    def __init__(self, start: int = 0) -> None:
        self.now = start

    def __call__(self) -> int:
        """Return the time now."""
        return self.now

    def pass_ns(self, nanoseconds: int) -> None:
        """Let time pass."""
        self.now += nanoseconds

    def sleep(self, seconds: float) -> None:
        """Let time pass as ``time.sleep`` would."""
        self.now += round(seconds * 1e9)


class ScriptedArm:
    """Stands in for an arm where pairs are taken: the script says how long each call takes.

    Args:
        name: ``"baseline"`` or ``"candidate"``.
        call_ns: the script.
        clock: shared by the arms of a pair.
        points: operating point → number of inputs.
        counters: what every visit reports.
    """

    def __init__(
        self,
        name: str,
        call_ns: CallTime,
        clock: ScriptedClock,
        points: Mapping[str, int] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.name, self.points = name, dict(points or {"point": 8})
        self._call_ns, self._clock, self._counters = call_ns, clock, counters or Counters()
        self.visits: list[tuple[str, tuple[int, ...], int]] = []
        """Each visit's point, inputs and discards."""
        self.parked = False

    def park(self) -> None:
        """Note that it was parked."""
        self.parked = True

    def block(self, point: str, inputs: Sequence[int], discards: int = 0) -> Block:
        """Make the calls of a visit on the scripted clock."""
        self.visits.append((point, tuple(inputs), discards))
        taken = []
        for index in inputs:
            taken.append(self._call_ns(point, index, self._clock()))
            self._clock.pass_ns(taken[-1])
        return Block(arm=self.name, point=point, calls_ns=tuple(taken[discards:]), counters=self._counters)
