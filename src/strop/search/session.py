"""Everything one run shares: the question, the record, the machine, the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scipy import special

from strop.contract.recipe import Recipe
from strop.contract.workload import InferenceWorkload
from strop.ledger.judgement import read_comparisons
from strop.ledger.ledger import Ledger
from strop.measure.collect import block_plan
from strop.measure.confirm import confirm_size
from strop.measure.host import Host
from strop.measure.quality import QualityResult
from strop.measure.result import Comparison
from strop.observe import Event, Level, Observer
from strop.search.bench import Bench, Seat
from strop.search.budget import Budget
from strop.search.examiner import Examiner
from strop.search.request import Request
from strop.trial.materials import Materials
from strop.trial.workshop import Prepared, Workshop
from strop.units import Ratio, Seconds

PREPARE_TIMEOUT: Seconds = 180.0
FALLBACK_SHARE: Ratio = 0.03
"""Set aside for answering with another recipe should the first one's quality not be confirmed."""

ROUNDS = 5
"""Fresh pairs of processes in a confirmation."""

LEAST_ROUNDS = 3
"""What a claim may rest on where the time ends first: Student's t asks more of fewer rounds, never less."""

BASELINE_USES = 8
"""A baseline process serves that many comparisons, then a fresh one takes its place."""


@dataclass(slots=True, kw_only=True)
class Session:
    """The state of one run in this process; what must survive the process is in the ledger.

    Attributes:
        baseline: the original model as an artefact.
        spread: spread of a pair's log-ratio when both arms are the same; from the A/A calibration.
        reserved: seconds that confirming needs, the answers included.
        timing: the part of it that the rounds need.
        pair_seconds: what a pair of the original with itself takes.
    """

    request: Request
    ledger: Ledger
    observer: Observer
    workload: InferenceWorkload
    materials: Materials
    workshop: Workshop
    bench: Bench
    examiner: Examiner
    host: Host
    budget: Budget
    baseline: Prepared
    spread: float = 0.03
    reserved: Seconds = 0.0
    timing: Seconds = 0.0
    pair_seconds: Seconds = 0.0
    _original: Seat | None = None
    _told: set[str] = field(default_factory=set)

    def original(self) -> Seat:
        """The original model's arm: started when first needed, replaced by a fresh process now and then."""
        if self._original is not None and self._original.uses >= BASELINE_USES:
            self.bench.dismiss(self._original)
            self._original = None
        if self._original is None:
            self._original = self.bench.seat(self.baseline, "baseline")
        return self._original

    def original_and_placebo(self) -> tuple[Seat, Seat]:
        """The original's arm, and the same artefact under another name."""
        self._original, placebo = self.bench.seats([(self.baseline, "baseline"), (self.baseline, "candidate")])
        return self._original, placebo

    def prepare(self, recipes: Sequence[Recipe], *, keep: Seconds | None = None) -> list[Prepared]:
        """Prepare recipes side by side within what the budget leaves beside ``keep``, by default the reserve."""
        left = max(1.0, min(PREPARE_TIMEOUT, self.budget.left - (self.reserved if keep is None else keep)))
        self.tell("prepare.started", f"preparing {' | '.join(map(str, recipes))}", level=Level.DETAIL)
        return self.workshop.prepare(recipes, left)

    def expect_confirm(self, candidate_start: Seconds, pair: Seconds, pairs: int, faster: Ratio) -> None:
        """Set aside what confirming a claim will take.

        Args:
            candidate_start: starting and warming the candidate.
            pair: one pair.
            pairs: pairs in a round.
            faster: how many times faster than the original the candidate answers.
        """
        original = self.original()
        data = self.workload.splits.get("confirming")
        calls = len(data.inputs) if data is not None and not self.workload.quality.unjudged else 0
        pace = self.examiner.pace.get("original", min(p.call_seconds for p in original.profile.values()))
        starts = original.seconds + candidate_start
        answering = calls * pace * (1 + 1 / faster) + starts
        self.timing = ROUNDS * (starts + pairs * pair)
        self.reserved = self.budget.reserve(self.timing + answering + FALLBACK_SHARE * self.budget.limit)

    def expect_claim(self, candidate: Seat, screened: Comparison) -> None:
        """Set aside what confirming this candidate will take, from what it took so far."""
        size = confirm_size(screened.evidence["sigma"], screened.evidence["theta"], self.request.delta, self.spread)
        pair = block_plan(self.original().profile, candidate.profile).pair_seconds
        self.expect_confirm(candidate.seconds, pair, size, screened.speedup.estimate)

    def out_of_time(self) -> bool:
        """Whether searching must stop so that confirming still fits."""
        return self.budget.left <= self.reserved

    def chance_to_confirm(self, screened: QualityResult, alpha: float) -> float:
        """Return the chance that the confirming split shows non-inferiority, given what the screening split showed.

        Normal approximation to the paired difference. The screened loss is itself uncertain, so the chance is the predictive
        one ("assurance": O'Hagan, Stevens and Campbell 2005); and what passed for sane loses little more often than much,
        so before screening the loss is believed to be around zero, give or take half of what is allowed.
        """
        data = self.workload.splits.get("confirming")
        if data is None or screened.n == 0:
            return 0.0
        confirming = max(1, round(len(data.inputs) * screened.n / max(1, len(self.workload.splits["screening"].inputs))))
        error, seen = screened.deviation / math.sqrt(confirming), screened.deviation**2 / screened.n
        prior = (screened.margin / 2) ** 2
        loss, spread = screened.loss * prior / (prior + seen), math.sqrt(error**2 + prior * seen / (prior + seen))
        return float(special.ndtr((screened.margin - loss - float(special.ndtri(1 - alpha)) * error) / spread))

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
