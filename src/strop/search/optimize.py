"""The whole search, from the first look at the original to the confirmed claim."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from strop.contract.recipe import Recipe
from strop.diagnose.suggest import RULES
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.collect import block_plan
from strop.measure.confirm import SMALLEST_ROUND
from strop.measure.plan import ScreenPlan
from strop.measure.result import Comparison, Finding, Verdict
from strop.measure.roofline import measure_roofs
from strop.observe import Level
from strop.search.compose import compose, prune
from strop.search.confirm import Confirmation, confirm
from strop.search.race import Standing, race
from strop.search.session import Session
from strop.search.trials import Trial
from strop.trial.workshop import Prepared
from strop.units import Seconds

CALIBRATION_PAIRS = 8
MOST_CLAIMS = 3
FIRST_SHARE = 0.8
DIAGNOSIS_TIMEOUT: Seconds = 120.0
ROOF_SECONDS: Seconds = 1.5
DETERMINISM_CALLS = 3
UNLIKELY = 0.5
"""Gain assumed of an instruction that the diagnosis knows and does not suggest; it is tried last."""
TYPICAL_GAIN = 3.0
"""Guess, before anything was tried, of how much faster a result starts and answers."""


@dataclass(slots=True)
class Search:
    """What a search found.

    Attributes:
        standing: every trial, and what was not tried.
        result: the confirmed recipe; ``None`` when nothing paid.
        confirmations: every claim tested, in order; the last one holds if there is a result.
        ablation: instruction name → the stack with it against the stack without it.
        placebo: the A/A comparison.
        findings: doubts about the run.
    """

    standing: Standing
    placebo: Comparison
    result: Prepared | None = None
    confirmations: list[tuple[Prepared, Confirmation]] = field(default_factory=list)
    ablation: list[tuple[str, Trial]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def search(session: Session) -> Search:
    """Calibrate, race, compose, prune and confirm within the budget.

    Raises:
        MeasureError: the original model itself cannot be run.
        PrepareError: the original model cannot be prepared.
    """
    placebo = _calibrate(session)
    findings = _determinism(session)
    gains = _diagnose(session)
    if placebo.verdict in (Verdict.FASTER, Verdict.SLOWER):
        findings.append(
            Finding(
                code="placebo-kept",
                message=f"the original under another name was found {placebo.verdict.value}, so no claim of this run can stand",
                advice="run again on a quieter machine",
            )
        )
    if session.reserved > session.budget.left:
        message = f"confirming a claim takes about {session.reserved:.0f} s here, and {session.budget.left:.0f} s are left"
        advice = (
            f"give a budget of {math.ceil((session.reserved + session.ledger.elapsed) * 1.5 / 60)}m or more, or a quieter machine"
        )
        findings.append(Finding(code="budget-too-small", message=message, advice=advice))
        session.tell("warning", f"{message}; {advice}", level=Level.WARNING)
    standing = race(session, gains)
    found = Search(standing, placebo, findings=findings)
    stacks = compose(session, standing)
    if stacks and not session.out_of_time():
        best, found.ablation = prune(session, standing, stacks[-1])
        stacks = [*stacks, best] if best.recipe != stacks[-1].recipe else stacks
    _confirm_best(session, found, stacks)
    if any(f.code == "placebo-kept" for f in findings):
        found.result = None
    return found


def _confirm_best(session: Session, found: Search, stacks: list[Prepared]) -> None:
    """Test the best stack; if its claim falls, the ones it grew from, while time is left.

    The first claim has :data:`FIRST_SHARE` of alpha where there is something to fall back on, the later ones share the
    rest, so that the chance of any false claim stays below alpha.
    """
    if found.standing.leader is None:
        return
    screened = found.standing.leader[0].comparisons["all"]
    claims = list({stack.recipe.key: stack for stack in reversed(stacks)}.values())[:MOST_CLAIMS]
    alpha = session.request.alpha
    for number, stack in enumerate(claims):
        if number and session.budget.left < session.ledger.seconds(f"confirm/{claims[0].recipe.key}"):
            return
        share = 1.0 if len(claims) == 1 else FIRST_SHARE if number == 0 else (1 - FIRST_SHARE) / (len(claims) - 1)
        confirmation = confirm(session, stack, screened, share * alpha)
        found.confirmations.append((stack, confirmation))
        if confirmation.holds:
            found.result = stack
            return


def _diagnose(session: Session) -> dict[int, float]:
    """Measure the roofs, find out where the time goes, and return instruction number → predicted gain."""

    def look() -> Any:
        arguments = {"roofs": roofs, "facts": asdict(session.materials.facts)}
        return session.bench.call(session.original(), "diagnose", arguments, DIAGNOSIS_TIMEOUT)

    folder = session.ledger.folder / "logs"
    roofs = session.ledger.step("roofs", lambda: measure_roofs(seed=session.request.seed, folder=folder, seconds=ROOF_SECONDS))
    row = session.ledger.step("diagnosis", look)
    for point in row["points"]:
        session.tell("diagnosis.done", f"{point['point']}: {point['bottleneck']}, {point['reason']}", level=Level.RESULT)
    unlikely = {rule.number: UNLIKELY for rule in RULES}
    return unlikely | {suggestion["number"]: suggestion["gain"] for suggestion in row["suggestions"]}


def _determinism(session: Session) -> list[Finding]:
    """Tell whether the original answers the same input twice with the same bytes."""

    def look() -> list[list[str]]:
        arm, point = session.original().arm, session.materials.points[0]
        return [[arm.digest(point, index) for _ in range(2)] for index in range(min(DETERMINISM_CALLS, arm.points[point]))]

    digests = session.ledger.step("determinism", look)
    differing = sum(first != second for first, second in digests)
    if not differing:
        return []
    finding = Finding(
        code="non-deterministic",
        message=f"the original gave different answers to {differing} of {len(digests)} inputs when called twice",
        advice="candidates are judged all the same; fix dropout or random sampling in the model if this is not meant",
    )
    session.tell("warning", finding.message, level=Level.WARNING)
    return [finding]


def _calibrate(session: Session) -> Comparison:
    """A/A: the original against itself under another name; gives the noise and is the placebo of the race."""

    def measure() -> dict[str, Any]:
        original, placebo = session.original_and_placebo()
        plan = ScreenPlan(
            delta=session.request.delta,
            metric=session.request.metric,
            max_pairs=CALIBRATION_PAIRS,
            min_pairs=CALIBRATION_PAIRS,
        )
        pairs = session.bench.screen("placebo", original, placebo, plan, lambda: False)
        session.bench.dismiss(placebo)
        return {"judgement": record_judgement(session.ledger, "placebo", plan, pairs, session.materials.points)}

    row = session.ledger.step("placebo", measure)
    comparison = read_comparisons(row["judgement"])["all"]
    session.spread = max(0.005, comparison.evidence.get("sigma", session.spread))
    original = session.original()
    pair = block_plan(original.profile, original.profile).pair_seconds
    session.expect_confirm(original.seconds / TYPICAL_GAIN, pair, SMALLEST_ROUND, TYPICAL_GAIN)
    session.tell(
        "baseline.measured", f"noise of a pair: {100 * session.spread:.1f} %; confirming is reserved {session.reserved:.0f} s"
    )
    return comparison


def describe(recipe: Recipe) -> list[str]:
    """Return number and name of each instruction of a recipe."""
    return [f"{i.number:02d} {i.name}" for i in recipe]
