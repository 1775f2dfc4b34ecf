"""Verdicts from pairs. Pure: the same pairs and plan give the same result, today, tomorrow and in ``verify``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from strop.errors import MeasureError
from strop.measure.confirm import RoundStatistics, proven_by, round_statistics
from strop.measure.goodput import Counts, goodput_statistics
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.ratios import ALL, FloatArray, huber, log_ratios, spread
from strop.measure.result import Comparison, Finding, Interval, Pair, Verdict
from strop.measure.sequential import ANYTHING, Decision, decide, evidence, interval, proven, trend
from strop.measure.voiding import asymmetry

VOID_LIMIT = 0.25
VOID_LOOK = 8
"""Pairs before the share of voided ones is looked at."""
UNSTEADY = 0.15
PATIENCE = 2
"""Screening gives up after this many times ``max_pairs`` pairs, voided ones counted."""


class Screen:
    """One screening comparison, fed pair by pair; decides on the mean over the operating points.

    Args:
        plan: the plan.
        points: names of the operating points, each with two blocks in every pair.
    """

    def __init__(self, plan: ScreenPlan, points: Sequence[str]) -> None:
        self.plan = plan
        self.points = tuple(points)
        self.pairs: list[Pair] = []
        self._decision: Decision | None = None
        self._differs = False

    def add(self, pair: Pair) -> Verdict | None:
        """Take the next pair, voided or not, and return the verdict, or ``None`` while more pairs are needed.

        Pairs that come after the verdict change nothing.
        """
        if self._decision is not None:
            return self._decision.verdict
        self.pairs.append(pair)
        every = log_ratios(self.pairs, ALL, self.plan.metric, voided=True)
        places = self._used()
        self._differs = False

        def agree(count: int, verdict: Verdict) -> bool:
            upto = places[count - 1] + 1
            if upto == count or proven(evidence(every[:upto], self.plan)[-1], upto, self.plan) is verdict:
                return True
            self._differs = count == len(places)
            return False

        self._decision = decide(every[places], self.plan, agree=agree)
        if self._decision is None and (len(places) >= self.plan.max_pairs or len(self.pairs) >= PATIENCE * self.plan.max_pairs):
            self._decision = Decision(Verdict.UNDECIDED, len(places))
        return self._decision.verdict if self._decision else None

    def comparisons(self) -> dict[str, Comparison]:
        """Return the state of every operating point and of ``"all"``; before the verdict they are UNDECIDED."""
        decision = self._decision or Decision(Verdict.UNDECIDED, len(self._used()))
        return {point: self._compare(point, decision) for point in (*self.points, ALL)}

    def _used(self) -> list[int]:
        """Return the places of the pairs that count: all of them once voiding is seen to fail."""
        if voiding_fails(self.pairs):
            return list(range(len(self.pairs)))
        return [place for place, pair in enumerate(self.pairs) if pair.voided is None]

    def _compare(self, point: str, decision: Decision) -> Comparison:
        used = [self.pairs[place] for place in self._used()[decision.start : decision.pairs]]
        y = log_ratios(used, point, self.plan.metric, voided=True)
        if not len(y):
            wide = math.exp(ANYTHING)
            nothing = Interval(low=1 / wide, estimate=1.0, high=wide, confidence=1 - self.plan.alpha)
            return self._comparison(point, Verdict.UNDECIDED, nothing, used, {}, self._findings(y, decision))
        logs = evidence(y, self.plan)[-1]
        low, high = interval(y, self.plan)
        estimate = float(huber(y)[0])
        verdict = decision.verdict
        if point != ALL:
            verdict = proven(logs, len(y), self.plan) or Verdict.UNDECIDED
            if verdict is Verdict.FASTER and decision.trend and decision.verdict is Verdict.UNDECIDED:
                verdict = Verdict.UNDECIDED
        shown = {
            "e_faster": math.exp(logs[0]),
            "e_slower": math.exp(logs[1]),
            "e_futile": math.exp(logs[2]),
            "theta": estimate,
            "sigma": spread(y),
        }
        speedup = Interval(low=math.exp(-high), estimate=math.exp(-estimate), high=math.exp(-low), confidence=1 - self.plan.alpha)
        return self._comparison(point, verdict, speedup, used, shown, self._findings(y, decision))

    def _comparison(
        self,
        point: str,
        verdict: Verdict,
        speedup: Interval,
        used: list[Pair],
        shown: dict[str, float],
        findings: tuple[Finding, ...],
    ) -> Comparison:
        return Comparison(
            point=point,
            phase="screen",
            verdict=verdict,
            speedup=speedup,
            pairs=len(used),
            rounds=len({pair.round for pair in used}),
            alpha=self.plan.alpha,
            delta=self.plan.delta,
            evidence=shown,
            findings=findings,
        )

    def _findings(self, y: FloatArray, decision: Decision) -> tuple[Finding, ...]:
        found = _host_findings(self.pairs, y)
        if decision.trend:
            found.append(_trend_finding(decision.trend, f"the first {decision.start} pairs were set aside; confirmation decides"))
        if self._differs and decision.verdict is Verdict.UNDECIDED:
            found.append(_voiding_finding("the last verdict was not the same with the voided pairs put back"))
        return tuple(found)


def judge_screen(pairs: Sequence[Pair], plan: ScreenPlan, points: Sequence[str]) -> dict[str, Comparison]:
    """Return what :class:`Screen` says after these pairs, in this order."""
    screen = Screen(plan, points)
    for pair in pairs:
        screen.add(pair)
    return screen.comparisons()


def judge_confirm(pairs: Sequence[Pair], plan: ConfirmPlan, points: Sequence[str]) -> dict[str, Comparison]:
    """Return the confirmed comparison of every operating point and of ``"all"``.

    The first ``plan.rounds`` rounds are used; fewer than ``plan.needed`` prove nothing. Rounds that were not planned are
    left out. A verdict that changes when the voided pairs are put back is UNDECIDED.
    The claim is the one about ``"all"``; each point is judged at the same level, without a correction for their number.

    Raises:
        MeasureError: a pair lacks a block, or fewer than two rounds hold two pairs or more.
    """
    if plan.metric == "goodput":
        return _judge_goodput(pairs, plan, points)
    numbers = list(dict.fromkeys(pair.round for pair in pairs))
    used = [pair for pair in pairs if pair.round in set(numbers[: plan.rounds])]
    all_kept = voiding_fails(used) or _leaves_a_bare_round(used)
    result = {}
    for point in (*points, ALL):
        every = _rounds(used, point, plan, voided=True)
        kept = every if all_kept else _rounds(used, point, plan, voided=False)
        findings = _host_findings(used, np.concatenate(kept))
        findings += _trend_findings(kept, plan)
        statistics = round_statistics(kept, plan)
        verdict = proven_by(statistics, plan)
        if proven_by(round_statistics(every, plan), plan) is not verdict:
            findings.append(_voiding_finding(f"{verdict.value!r} is not what the pairs say with the voided ones put back"))
            verdict = Verdict.UNDECIDED
        if len(numbers) < plan.rounds:
            missing = f"{len(numbers)} of {plan.rounds} planned rounds were measured"
            code, advice = ("fewer-rounds", "a longer budget narrows the interval")
            if len(numbers) < plan.needed:
                code, advice, verdict = ("incomplete", "resume the run", Verdict.UNDECIDED)
            findings.append(_finding(code, missing, advice))
        if len(numbers) > plan.rounds:
            surplus = len(numbers) - plan.rounds
            findings.append(_finding("unplanned-rounds", f"{surplus} rounds beyond the plan were left out", ""))
        result[point] = _confirmed(point, verdict, statistics, sum(map(len, kept)), plan, tuple(findings))
    return result


def _judge_goodput(pairs: Sequence[Pair], plan: ConfirmPlan, points: Sequence[str]) -> dict[str, Comparison]:
    """Judge what servers answered in time; the load comes to all their windows alike, so that there is one point in truth."""
    numbers = list(dict.fromkeys(pair.round for pair in pairs))[: plan.rounds]
    counts = [
        Counts(
            *(np.array([_in_time(p, arm) for p in pairs if p.round == n], dtype=np.float64) for arm in ("baseline", "candidate"))
        )
        for n in numbers
    ]
    if len(counts) < 2 or min(len(c.baseline) for c in counts) < 2:
        sizes = ", ".join(str(len(c.baseline)) for c in counts) or "none"
        raise MeasureError(f"a claim about goodput needs two rounds of two pairs or more; pairs by round: {sizes}")
    found, findings = goodput_statistics(counts, plan), []
    verdict = found.verdict
    if len(numbers) < plan.needed:
        findings.append(_finding("incomplete", f"{len(numbers)} of {plan.rounds} planned rounds were measured", "resume the run"))
        verdict = Verdict.UNDECIDED
    return {
        point: Comparison(
            point=point,
            phase="confirm",
            verdict=verdict,
            speedup=found.speedup,
            pairs=sum(len(c.baseline) for c in counts),
            rounds=found.rounds,
            alpha=plan.alpha,
            delta=plan.delta,
            evidence={arm: float(sum(getattr(c, arm).sum() for c in counts)) for arm in ("baseline", "candidate")},
            findings=tuple(findings),
        )
        for point in (*points, ALL)
    }


def _in_time(pair: Pair, arm: str) -> int:
    return sum(len(block.calls_ns) for block in pair.blocks if block.arm == arm)


def _confirmed(
    point: str, verdict: Verdict, statistics: RoundStatistics, pairs: int, plan: ConfirmPlan, findings: tuple[Finding, ...]
) -> Comparison:
    names = ("theta", "s", "within", "lower", "upper", "p")
    return Comparison(
        point=point,
        phase="confirm",
        verdict=verdict,
        speedup=statistics.speedup,
        pairs=pairs,
        rounds=statistics.rounds,
        alpha=plan.alpha,
        delta=plan.delta,
        evidence={name: float(getattr(statistics, name)) for name in names},
        findings=findings,
    )


def _rounds(pairs: Sequence[Pair], point: str, plan: ConfirmPlan, *, voided: bool) -> list[FloatArray]:
    numbers = dict.fromkeys(pair.round for pair in pairs)
    rounds = [log_ratios([p for p in pairs if p.round == number], point, plan.metric, voided=voided) for number in numbers]
    if len(rounds) < 2 or min(map(len, rounds)) < 2:
        sizes = ", ".join(str(len(y)) for y in rounds) or "none"
        raise MeasureError(
            f"a claim needs two rounds of two undisturbed pairs or more at {point!r}; usable pairs by round: {sizes}"
        )
    return rounds


def voiding_fails(pairs: Sequence[Pair]) -> bool:
    """Tell whether no pair may be voided: one arm alone is to blame, or there is hardly an undisturbed pair to keep.

    Either way the pairs are judged as they came. That costs power, never validity, which rests on the coins alone; and
    whether it happens depends on the system's counters and not on any time.
    """
    voids = sum(pair.voided is not None for pair in pairs)
    return bool(asymmetry(pairs)) or (len(pairs) >= VOID_LOOK and voids > VOID_LIMIT * len(pairs))


def _leaves_a_bare_round(pairs: Sequence[Pair]) -> bool:
    """Tell whether voiding would leave a round without the two pairs that its own error is estimated from."""
    left = Counter(pair.round for pair in pairs if pair.voided is None)
    return any(left[number] < 2 for number in {pair.round for pair in pairs})


def _host_findings(pairs: Sequence[Pair], y: FloatArray) -> list[Finding]:
    found = []
    voids = sum(pair.voided is not None for pair in pairs)
    if pairs and voids > VOID_LIMIT * len(pairs):
        message = f"{voids} of {len(pairs)} pairs were disturbed by other work on the machine, so none was voided"
        found.append(_finding("noisy-host", message, "measure again when the machine is quieter"))
    if blame := asymmetry(pairs):
        found.append(_finding("void-asymmetry", blame, "no pair was voided, because one arm causes the disturbance itself"))
    if len(y) and spread(y) > UNSTEADY:
        message = f"the log-ratios of single pairs spread by {100 * spread(y):.0f} %"
        found.append(_finding("unsteady", message, "longer blocks or a quieter machine give a decision sooner"))
    return found


def _trend_findings(rounds: Sequence[FloatArray], plan: ConfirmPlan) -> list[Finding]:
    seen = [text for y in rounds if (text := trend(y, plan.delta))]
    if len(seen) <= len(rounds) // 2:
        return []
    return [_trend_finding(f"{len(seen)} of {len(rounds)} rounds: {seen[0]}", "warm-up was too short for one of the arms")]


def _trend_finding(message: str, advice: str) -> Finding:
    return _finding("trend", message, advice)


def _voiding_finding(message: str) -> Finding:
    return _finding("voiding-decides", message, "measure again when the machine is quieter")


def _finding(code: str, message: str, advice: str) -> Finding:
    return Finding(code=code, message=message, advice=advice)
