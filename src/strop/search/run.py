"""What the run of any kind of workload shares: the question, the record, the machine, the arm that all are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from strop.ledger.judgement import read_comparisons, record_judgement
from strop.ledger.ledger import Ledger
from strop.measure.collect import block_plan
from strop.measure.host import Host
from strop.measure.plan import ScreenPlan
from strop.measure.result import Comparison
from strop.observe import Event, Level, Observer
from strop.search.bench import Bench, Runnable, Seat
from strop.search.budget import Budget
from strop.search.request import Request
from strop.units import Seconds

ROUNDS = 5
"""Fresh pairs of processes in a confirmation."""

LEAST_ROUNDS = 3
"""What a claim may rest on where the time ends first: Student's t asks more of fewer rounds, never less."""

BASELINE_USES = 8
"""A baseline process serves that many comparisons, then a fresh one takes its place."""

CALIBRATION_PAIRS = 6


def least_rounds(request: Request) -> int:
    """Return how many rounds a claim must rest on; an exact one is judged by the pairs of all rounds together."""
    return ROUNDS if request.exact else LEAST_ROUNDS


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of one run in this process; what must survive the process is in the ledger.

    Attributes:
        baseline: what everything is compared with: the original model, or the plain training.
        spread: spread of a pair's log-ratio when both arms are the same; from the A/A calibration.
        reserved: seconds that confirming needs, its judging of quality included.
        pair_seconds: what a pair of the baseline with itself takes.
    """

    request: Request
    ledger: Ledger
    observer: Observer
    bench: Bench
    host: Host
    budget: Budget
    baseline: Runnable
    spread: float = 0.03
    reserved: Seconds = 0.0
    pair_seconds: Seconds = 0.0
    _original: Seat | None = None
    _told: set[str] = field(default_factory=set)

    def original(self) -> Seat:
        """The baseline's arm: started when first needed, replaced by a fresh process now and then, and when it died."""
        if self._original is not None and (self._original.uses >= BASELINE_USES or self._original.arm.ended):
            self.bench.dismiss(self._original)
            self._original = None
        if self._original is None:
            self._original = self.bench.seat(self.baseline, "baseline")
        return self._original

    def original_and_placebo(self) -> tuple[Seat, Seat]:
        """The baseline's arm, and the same under another name."""
        if self._original is None:
            self._original, placebo = self.bench.seats([(self.baseline, "baseline"), (self.baseline, "candidate")])
            return self._original, placebo
        return self._original, self.bench.seat(self.baseline, "candidate")

    def calibrate(self) -> Comparison:
        """A/A: the baseline against itself under another name; gives the noise and is the placebo of the race."""

        def measure() -> dict[str, Any]:
            original, placebo = self.original_and_placebo()
            plan = ScreenPlan(
                delta=self.request.delta,
                metric=self.request.metric,
                max_pairs=CALIBRATION_PAIRS,
                min_pairs=CALIBRATION_PAIRS,
            )
            pairs = self.bench.screen("placebo", original, placebo, plan, lambda: False)
            self.bench.dismiss(placebo)
            return {"judgement": record_judgement(self.ledger, "placebo", plan, pairs, self.bench.points)}

        row = self.ledger.step("placebo", measure)
        comparison = read_comparisons(row["judgement"])["all"]
        self.spread = max(0.005, comparison.evidence.get("sigma", self.spread))
        original = self.original()
        self.pair_seconds = block_plan(original.profile, original.profile).pair_seconds
        return comparison

    def out_of_time(self) -> bool:
        """Whether searching must stop so that confirming still fits."""
        return self.budget.left <= self.reserved

    def tell(self, name: str, text: str = "", *, level: Level = Level.PROGRESS, **data: Any) -> None:
        """Emit an event."""
        self.observer(Event(name, text, level, data))

    def tell_trial(self, row: Mapping[str, Any]) -> None:
        """Emit the row of a trial, once per sitting."""
        if (mark := f"{row['against']}/{row['key']}") not in self._told:
            self._told.add(mark)
            speedup = asdict(read_comparisons(row["screen"])["all"].speedup) if row["screen"] else None
            shown = {
                "id": row["key"],
                "recipe": row["text"],
                "status": row["status"],
                "reason": row["reason"],
                "speedup": speedup,
            }
            self.tell("trial.judged", f"{row['text']}: {row['status']}", level=Level.RESULT, row=shown)
