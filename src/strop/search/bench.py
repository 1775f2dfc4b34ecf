"""The measuring bench of a run: arms that are alive, and the two ways of comparing them."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from strop.contract.recipe import Recipe
from strop.measure.arm import Arm, ArmSpec
from strop.measure.collect import BlockPlan, PointProfile, block_plan, profile, take_pair
from strop.measure.judge import Screen
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Pair
from strop.measure.timing import WarmRule
from strop.observe import Event, Level, Observer
from strop.units import Seconds

ALONE = 0.75
"""An arm that loads alone takes about this part of what two take that load side by side."""

LOAD_TIMEOUT: Seconds = 120.0
"""An arm that has not opened its artefact by then counts as hung."""


class Runnable(Protocol):
    """What an arm can be started for: an artefact, or a training that its process builds itself."""

    @property
    def recipe(self) -> Recipe:
        """What was, or will be, done."""


class Shop(Protocol):
    """Describes the processes of arms; :class:`strop.trial.workshop.Workshop` and ``strop.trial.training.TrainingShop``."""

    def arm(self, prepared: Any, name: str) -> ArmSpec:
        """Describe the process that runs ``prepared``, of the kind the shop deals in."""


@dataclass(slots=True)
class Seat:
    """One arm that is alive and warm, and parked unless it has the turn.

    Attributes:
        prepared: what it runs.
        arm: its process.
        profile: call time and discards per operating point.
        marks: seconds from spawn to each moment of starting.
        seconds: what starting it alone and warming it takes.
        uses: comparisons it has served in.
    """

    prepared: Runnable
    arm: Arm
    profile: Mapping[str, PointProfile]
    marks: Mapping[str, Seconds]
    seconds: Seconds
    uses: int = 0


class Bench:
    """Starts arms, screens and confirms.

    Args:
        shop: describes the arms.
        points: operating points, in order; readable.
        seed: of coins, inputs and process environments.
        logs: folder for the output of the processes.
        observer: told when measuring starts and ends, so that nothing is printed meanwhile.
        warm: when an arm counts as warm.
    """

    def __init__(self, shop: Shop, points: tuple[str, ...], seed: int, logs: Path, observer: Observer, warm: WarmRule) -> None:
        self._shop, self.points, self._seed, self._logs, self._observer = shop, points, seed, logs, observer
        self._warm = warm
        self._profiles: dict[str, Mapping[str, PointProfile]] = {}
        self._seats: list[Seat] = []
        self._started = 0
        self.measuring: Seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for seat in list(self._seats):
            self.dismiss(seat)

    def seat(self, prepared: Runnable, name: str) -> Seat:
        """Start an arm, open its artefact, warm it up and park it.

        Raises:
            MeasureError: the process died, hung or failed; nothing of it is left running.
        """
        return self.seats([(prepared, name)])[0]

    def seats(self, wanted: Sequence[tuple[Runnable, str]]) -> list[Seat]:
        """Start several arms that load side by side, which spoils the marks of their starts but not their warm calls.

        Raises:
            MeasureError: one of the processes died, hung or failed; nothing of them is left running.
        """
        with contextlib.ExitStack() as cleanup:
            arms = [cleanup.enter_context(contextlib.closing(self._start(prepared, name))) for prepared, name in wanted]
            begun = time.monotonic()
            if len(arms) == 1:  # in this thread, so that an interrupt is heard at once
                marks = [arms[0].load(LOAD_TIMEOUT)]
            else:
                with ThreadPoolExecutor(len(arms)) as threads:
                    marks = list(threads.map(lambda arm: arm.load(LOAD_TIMEOUT), arms))
            loaded = (time.monotonic() - begun) * (1.0 if len(arms) == 1 else ALONE)
            for arm in arms:
                arm.park()
            seats = [self._warm_up(*one, loaded) for one in zip((p for p, _ in wanted), arms, marks, strict=True)]
            cleanup.pop_all()
        self._seats += seats
        return seats

    def _start(self, prepared: Runnable, name: str) -> Arm:
        self._started += 1
        log = self._logs / f"arm-{self._started:03d}-{prepared.recipe.key}.log"
        return Arm.start(self._shop.arm(prepared, name), seed=self._derive("spawn", self._started), log=log)

    def _warm_up(self, prepared: Runnable, arm: Arm, marks: Mapping[str, Seconds], loaded: Seconds) -> Seat:
        begun = time.monotonic()
        with self._clock(), arm.turn():
            arm.warm(self.points, rule=self._warm)
            seconds = loaded + time.monotonic() - begun
            seat = Seat(prepared, arm, self._profile(prepared, arm), marks, seconds)
        arm.park()
        return seat

    def _profile(self, prepared: Runnable, arm: Arm) -> Mapping[str, PointProfile]:
        """How an artefact re-warms does not change between its processes, so one look serves them all."""
        key = prepared.recipe.key
        if key not in self._profiles:
            self._profiles[key] = profile(arm, self.points)
        return self._profiles[key]

    def dismiss(self, seat: Seat) -> None:
        """End an arm's process."""
        seat.arm.close()
        self._seats.remove(seat)

    @contextlib.contextmanager
    def seated(self, prepared: Runnable, name: str) -> Iterator[Seat]:
        """An arm for the length of a ``with`` block."""
        seat = self.seat(prepared, name)
        try:
            yield seat
        finally:
            self.dismiss(seat)

    @contextlib.contextmanager
    def opened(self, prepared: Runnable, name: str) -> Iterator[Seat]:
        """An arm that only answers, for the length of a ``with`` block: loaded and parked, neither warm nor profiled."""
        with contextlib.closing(self._start(prepared, name)) as arm:
            marks = arm.load(LOAD_TIMEOUT)
            arm.park()
            yield Seat(prepared, arm, {}, marks, 0.0)

    def call(self, seat: Seat, method: str, arguments: Mapping[str, Any], timeout: Seconds) -> Any:
        """Let a parked arm do something untimed, and park it again."""
        return seat.arm.call(method, arguments, timeout=timeout)

    def screen(self, name: str, baseline: Seat, candidate: Seat, plan: ScreenPlan, enough: Callable[[], bool]) -> list[Pair]:
        """Take pairs until the e-process decides, the plan's cap is reached, or ``enough`` says that time is up."""
        decision = Screen(plan, self.points)
        pairs: list[Pair] = []
        blocks = block_plan(baseline.profile, candidate.profile)
        with self._clock():
            verdict = None
            while verdict is None and not (enough() and len(pairs) >= plan.min_pairs):
                pairs.append(self._pair(name, baseline, candidate, blocks, index=len(pairs), round=0))
                verdict = decision.add(pairs[-1])
        baseline.uses += 1
        return pairs

    def confirm(
        self,
        name: str,
        baseline: Runnable,
        candidate: Runnable,
        plan: ConfirmPlan,
        told: Callable[[int, Seat, Seat], None] = lambda number, baseline, candidate: None,
        fits: Callable[[Seconds], bool] = lambda seconds: True,
    ) -> list[Pair]:
        """Take the pre-registered pairs on fresh processes, round by round; return those of complete rounds.

        Args:
            name: names the comparison; keys its coins.
            baseline: what it is compared with.
            candidate: what is claimed about.
            plan: registered before the first pair is taken.
            told: called in each round with its number and both seats, after their pairs.
            fits: asked before each round whether there is time for as long as the longest so far took, and before each pair
                whether there is any.
        """
        pairs: list[Pair] = []
        longest: Seconds = 0.0
        for number in range(plan.rounds):
            if not fits(longest):
                break
            begun = time.monotonic()
            order = [(baseline, "baseline"), (candidate, "candidate")]
            if self._derive("order", number) % 2:
                order.reverse()
            with contextlib.ExitStack() as stack:
                seats = {arm: stack.enter_context(self.seated(prepared, arm)) for prepared, arm in order}
                blocks = block_plan(seats["baseline"].profile, seats["candidate"].profile)
                with self._clock():
                    for _ in range(plan.pairs):
                        if not fits(0.0):
                            return [pair for pair in pairs if pair.round < number]
                        pairs.append(
                            self._pair(name, seats["baseline"], seats["candidate"], blocks, index=len(pairs), round=number)
                        )
                ended = time.monotonic()
                told(number, seats["baseline"], seats["candidate"])
                begun += time.monotonic() - ended  # what is looked at besides, in one round or another, makes no round longer
            longest = max(longest, time.monotonic() - begun)
        return pairs

    def _pair(self, name: str, baseline: Seat, candidate: Seat, blocks: BlockPlan, *, index: int, round: int) -> Pair:
        return take_pair(baseline.arm, candidate.arm, blocks, seed=self._seed, comparison=name, index=index, round=round)

    @contextlib.contextmanager
    def _clock(self) -> Iterator[None]:
        start = time.monotonic()
        self._observer(Event("measuring.started", level=Level.DETAIL))
        try:
            yield
        finally:
            self.measuring += time.monotonic() - start
            self._observer(Event("measuring.ended", level=Level.DETAIL))

    def _derive(self, what: str, number: int) -> int:
        text = f"{self._seed}/{what}/{number}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
