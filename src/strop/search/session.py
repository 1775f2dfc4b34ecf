"""What the run of an inference workload adds: its data, its artefacts, its examiner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from strop.contract.recipe import Recipe
from strop.contract.workload import InferenceWorkload
from strop.measure.collect import block_plan
from strop.measure.confirm import confirm_size
from strop.measure.quality import Guard, QualityResult
from strop.measure.result import Comparison
from strop.observe import Level
from strop.pipeline import fits
from strop.search.bench import Seat
from strop.search.examiner import Examiner
from strop.search.run import ROUNDS, Run
from strop.trial.materials import Materials
from strop.trial.workshop import Prepared, Workshop
from strop.units import Ratio, Seconds

PREPARE_TIMEOUT: Seconds = 180.0
FALLBACK_SHARE: Ratio = 0.03
"""Set aside for answering with another recipe should the first one's quality not be confirmed."""

FIT_PACE: Ratio = 3.5
"""How much longer a training takes than its passes by the original would: small steps, the optimizer, the teacher's losses.
The one whole run that was watched took 3.6 times as long; the search corrects it by what each training takes."""


@dataclass(slots=True, kw_only=True)
class Session(Run):
    """The run of an inference workload.

    Attributes:
        baseline: the original model as an artefact.
        round_seconds: what a round of confirming is expected to take.
        judging: what judging the answers of a claim is expected to take.
    """

    workload: InferenceWorkload
    materials: Materials
    workshop: Workshop
    examiner: Examiner
    baseline: Prepared
    round_seconds: Seconds = 0.0
    judging: Seconds = 0.0

    def reserve(self, rounds: int) -> Seconds:
        """Return what must be set aside for a claim of so many rounds, and for answering with another should it fall."""
        return self.budget.reserve(rounds * self.round_seconds + self.judging + FALLBACK_SHARE * self.budget.limit)

    def prepare(self, recipes: Sequence[Recipe], *, keep: Seconds | None = None) -> list[Prepared]:
        """Prepare recipes side by side within what the budget leaves beside ``keep``, by default the reserve."""
        longest = math.inf if any(map(fits, recipes)) else PREPARE_TIMEOUT
        left = max(1.0, min(longest, self.budget.left - (self.reserved if keep is None else keep)))
        self.tell("prepare.started", f"preparing {' | '.join(map(str, recipes))}", level=Level.DETAIL)
        return self.workshop.prepare(recipes, left)

    def fit_seconds(self, recipe: Recipe) -> Seconds:
        """Return about how long preparing a recipe will train: 0 where it does not, or where its training is in the cache.

        The original's pace is that of the operating point at which it takes least time per element of an array.
        """
        if not fits(recipe) or self.workshop.fitted(recipe):
            return 0.0
        facts, profile = self.materials.facts, self.original().profile
        pace = min(p.call_seconds * facts.points[point] / facts.elements[point] for point, p in profile.items())
        return FIT_PACE * pace * facts.elements.get("training", 0) * sum(i.passes(facts, self.host) for i in recipe)

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
        self.judging = calls * pace * (1 + 1 / faster) + starts
        self.round_seconds = starts + pairs * pair
        self.reserved = self.reserve(ROUNDS)

    def expect_claim(self, candidate: Seat, screened: Comparison) -> None:
        """Set aside what confirming this candidate will take, from what it took so far."""
        size = confirm_size(screened.evidence["sigma"], screened.evidence["theta"], self.request.delta, self.spread)
        pair = block_plan(self.original().profile, candidate.profile).pair_seconds
        self.expect_confirm(candidate.seconds, pair, size, screened.speedup.estimate)

    def too_few(self, screened: QualityResult) -> str | None:
        """Say so where the confirming split is too small to show what a screened candidate loses, if it loses nothing."""
        if "confirming" not in self.workload.splits or screened.needed_n is None or screened.guard is Guard.BROKEN:
            return None
        confirming = self._confirming(screened)
        if screened.needed_n <= confirming:
            return None
        return (
            f"about {screened.needed_n} examples in the confirming split would show that no more than {screened.margin:.2g} of "
            f"{screened.metric} is lost, and {confirming} are there; give more, or allow a larger loss by --max-drop"
        )

    def _confirming(self, screened: QualityResult) -> int:
        """Return how many examples the confirming split holds, each input holding as many as in the screening split."""
        inputs = {name: len(split.inputs) for name, split in self.workload.splits.items()}
        return max(1, round(inputs["confirming"] * screened.n / max(1, inputs["screening"])))

    def chance_to_confirm(self, screened: QualityResult, alpha: float) -> float:
        """Return the chance that the confirming split shows non-inferiority, given what the screening split showed.

        Normal approximation to the paired difference. The screened loss is itself uncertain, so the chance is the predictive
        one ("assurance": O'Hagan, Stevens and Campbell 2005); and what passed for sane loses little more often than much,
        so before screening the loss is believed to be around zero, give or take half of what is allowed.
        """
        data = self.workload.splits.get("confirming")
        if data is None or screened.n == 0:
            return 0.0
        if screened.deviation <= 0:  # all examples, or all resamples, agree
            return float(screened.loss < screened.margin)
        error, seen = screened.deviation / math.sqrt(self._confirming(screened)), screened.deviation**2 / screened.n
        prior = (screened.margin / 2) ** 2
        loss, spread = screened.loss * prior / (prior + seen), math.sqrt(error**2 + prior * seen / (prior + seen))
        return float(special.ndtr((screened.margin - loss - float(special.ndtri(1 - alpha)) * error) / spread))
