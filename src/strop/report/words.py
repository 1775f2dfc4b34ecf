"""The sentences of a report. Only confirmed comparisons become ratios; what is undecided or invalid never does."""

from __future__ import annotations

from collections.abc import Sequence

from strop.measure.result import Comparison, Interval, Verdict
from strop.report.evidence import Ablation, Claim, QualityCheck
from strop.report.model import RunReport
from strop.report.parts import STATUSES, Tail, Trial
from strop.units import NOT_MEASURED, show_bytes, show_number, show_seconds, show_seconds_interval, show_speedup

WON = ("kept", "faster", "smaller", "better", "protected")
"""Statuses of trials that gave something."""

OPEN = ("faster", "undecided", "invalid", "unproven quality")
"""Statuses of trials that are not in the result, and that a longer run or more evaluation data may yet bring there."""

POINT_OF = {"all": "all points together"}


def speedup(interval: Interval | None) -> str:
    """Write a speed-up with its interval, or "not measured"."""
    return NOT_MEASURED if interval is None else show_speedup(interval.low, interval.estimate, interval.high)


def contribution(row: Ablation) -> str:
    """Write what one instruction contributes; a ratio that was not confirmed says "screen only"."""
    text = speedup(row.contribution)
    return text if row.confirmed or row.contribution is None else f"{text} screen only"


def claimed(comparison: Comparison) -> str:
    """Write what a confirmed comparison allows to be claimed: a ratio, or in words that there is none."""
    if comparison.verdict is Verdict.UNDECIDED:
        return "no ratio: the time ran out before anything was proven"
    if comparison.verdict is Verdict.INVALID:
        return "no ratio: a self-check of the measurement failed"
    return speedup(comparison.speedup)


def median(interval: Interval) -> str:
    """Write a median latency with its interval."""
    return show_seconds_interval(interval.low, interval.estimate, interval.high)


def tail(value: Tail | None) -> str:
    """Write a high quantile with the bound its number of calls supports."""
    if value is None:
        return NOT_MEASURED
    if value.bound is None:
        return f"{show_seconds(value.estimate)} (no bound)"
    return f"{show_seconds(value.estimate)} (≤ {show_seconds(value.bound)})"


def size(value: int | None) -> str:
    """Write a size, or "not measured"."""
    return NOT_MEASURED if value is None else show_bytes(value)


def seconds(value: float | None) -> str:
    """Write a duration, or "not measured"."""
    return NOT_MEASURED if value is None else show_seconds(value)


def number(value: float | None) -> str:
    """Write a plain number, or "not measured"."""
    return NOT_MEASURED if value is None else show_number(value)


def signed(interval: Interval | None) -> str:
    """Write a difference with its interval and explicit signs, or "not measured"."""
    if interval is None:
        return NOT_MEASURED
    low, middle, high = (f"{value:+.3g}".replace("-", "−") for value in (interval.low, interval.estimate, interval.high))
    return f"{middle} [{low}, {high}]"


def factor(before: float | None, after: float | None) -> str:
    """Write how ``after`` relates to ``before``: ``"4.0 times smaller"``, ``"1.2 times larger"``, ``"unchanged"``."""
    if before is None or after is None or before <= 0 or after <= 0:
        return NOT_MEASURED
    ratio = max(before, after) / min(before, after)
    if ratio < 1.005:
        return "unchanged"
    places = 0 if ratio >= 100 else 1 if ratio >= 2 else 2
    return f"{ratio:.{places}f} times {'smaller' if after < before else 'larger'}"


def headline(report: RunReport) -> str:
    """Return the verdict of the whole run in one or two sentences."""
    name, outcome = report.subject.name, report.outcome
    if outcome.exit_code == 3:
        return f"{_nothing(report.trials)} Keep {name} as it is." + _because(outcome.reason)
    if outcome.exit_code == 1:
        return "The run failed." + _because(outcome.reason)
    start = "Interrupted; this is the best so far. " if outcome.exit_code == 130 else ""
    if report.gate is None:
        kept = "A recipe was kept, but its speed-up" if outcome.kept else "No recipe was confirmed: a speed-up"
        text = f"{kept} was not measured on fresh processes, so no ratio is claimed."
    else:
        text = _gate(name, report.gate, report.subject.aim) + _quality_clause(report.quality) + _exceptions(report.gate)
        text += "".join(map(_beaten, report.claims))
    return start + text + (_sizes(report) if report.subject.aim in ("size", "memory") else "") + _because(outcome.reason)


def _nothing(trials: Sequence[Trial]) -> str:
    """Say why nothing was kept: everything was found not to pay, or some of it is open."""
    tried, unsettled = len(trials), sum(trial.status in OPEN for trial in trials)
    if not tried:
        return "Undecided: no recipe could be tried."
    what = "the one recipe tried was not" if tried == 1 else f"none of the {tried} recipes tried was"
    if not unsettled:
        return f"Nothing paid: {what} worth keeping."
    return f"Undecided: {what} proven worth keeping, and {'it' if tried == 1 else unsettled} may be."


def _because(reason: str) -> str:
    return f" {reason}" if reason else ""


def _gate(name: str, gate: Claim, aim: str) -> str:
    whole, points = gate.over_all(), gate.per_point()
    scope = f" over {len(points)} operating points" if len(points) > 1 else ""
    if whole is None:
        return f"{name} has a verdict for each operating point and none over all of them"
    if aim == "goodput" and whole.verdict is Verdict.FASTER:
        return f"{name} answers {speedup(whole.speedup)} as many requests in time as with a call for each"
    if whole.verdict is Verdict.FASTER:
        return f"{name} runs {speedup(whole.speedup)} as fast as the {gate.against}{scope}"
    if whole.verdict is Verdict.SLOWER:
        return f"{name} became slower: {speedup(whole.speedup)} of the speed of the {gate.against}{scope}"
    if whole.verdict is Verdict.NO_GAIN:
        return f"{name} gained nothing worthwhile{scope}: {speedup(whole.speedup)}"
    if whole.verdict is Verdict.UNDECIDED:
        return f"Undecided: the time ran out before the speed of {name} against the {gate.against} was proven{scope}"
    return f"Invalid: a self-check of the measurement failed, so nothing is claimed about the speed of {name}"


def _quality_clause(checks: tuple[QualityCheck, ...]) -> str:
    if not checks:
        return "; quality not measured."
    check = checks[0]
    if check.guard == "not measured" or check.baseline is None or check.result is None:
        return f"; {check.note or f'{check.metric} not measured'}."
    values = f"{check.metric} {number(check.baseline)} → {number(check.result)}"
    guard = {
        "held": "within the quality budget",
        "broken": "outside the quality budget",
        "unproven": "not proven to be within the quality budget",
    }
    return f", with {values}, {guard[check.guard]}."


def _exceptions(gate: Claim) -> str:
    """Name the operating points whose verdict differs from that of the whole; beyond three, count them."""
    points, whole = gate.per_point(), gate.over_all()
    if len(points) < 2:
        return ""
    parts = []
    for verdict in Verdict:
        names = [c.point for c in points if c.verdict is verdict]
        if names and (whole is None or verdict is not whole.verdict):
            place = ", ".join(names) if len(names) <= 3 else f"{len(names)} of {len(points)} operating points"
            parts.append(f" {verdict.value.capitalize()} at {place}.")
    return "".join(parts)


def _beaten(claim: Claim) -> str:
    """Say so when something else was proven to be faster than the result."""
    whole = claim.over_all()
    if whole is None or whole.verdict is not Verdict.SLOWER:
        return ""
    return f" The {claim.against} is faster still: the {claim.candidate} has {speedup(whole.speedup)} of its speed."


def _sizes(report: RunReport) -> str:
    before, after = report.footprint_before, report.footprint_after
    if report.subject.aim == "size":
        return f" On disk: {size(before.disk)} → {size(after.disk)}."
    return f" Peak memory of the process: {size(before.process_peak)} → {size(after.process_peak)}."


def not_kept(trials: tuple[Trial, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return recipe, status and reason of every tried recipe that is not in the result, in the order they were tried."""
    left = (t for t in trials if t.status not in ("kept", "planned"))
    return tuple((t.recipe, t.status, t.reason or STATUSES[t.status]) for t in left)


def kept_by(report: RunReport) -> str:
    """Return how the time budget was kept, in a sentence."""
    spent, limit = report.budget.spent, report.budget.limit
    if limit is None:
        return f"{show_seconds(spent)} were used; no limit was set."
    over = spent / limit - 1
    kept = "kept" if over <= 0 else f"exceeded by {100 * over:.1f} %"
    return f"{show_seconds(spent)} of {show_seconds(limit)} were used: the budget was {kept}."
