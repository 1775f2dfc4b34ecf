"""The whole search, from the first look at the original to the confirmed claim."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.diagnose.suggest import RULES
from strop.errors import MeasureError
from strop.measure.confirm import FAR_ROUND
from strop.measure.result import Comparison, Finding
from strop.measure.roofline import measure_roofs
from strop.observe import Level
from strop.search.choose import Found, choose_and_confirm
from strop.search.claims import claim_parts
from strop.search.climb import Standing, climb
from strop.search.placebo import PLACEBO_KEPT, doubt
from strop.search.session import Session
from strop.units import Seconds

DIAGNOSIS_TIMEOUT: Seconds = 120.0
ROOF_SECONDS: Seconds = 1.5
DETERMINISM_CALLS = 3
TYPICAL_GAIN = 4.0
"""Guess, before anything was tried, of how much faster a result starts and answers."""
UNLIKELY = 0.5
"""Gain assumed of an instruction that the diagnosis knows and does not suggest; it is tried last."""


@dataclass(slots=True)
class Search(Found):
    """What a search found.

    Attributes:
        standing: every trial, and what was not tried.
        placebo: the A/A comparison.
        findings: doubts about the run.
    """

    standing: Standing = field(kw_only=True)
    placebo: Comparison = field(kw_only=True)
    findings: list[Finding] = field(default_factory=list, kw_only=True)


def search(session: Session) -> Search:
    """Calibrate, climb, prune, confirm and, if time is left, confirm what the parts contribute.

    Raises:
        MeasureError: the original model itself cannot be run.
        PrepareError: the original model cannot be prepared.
    """
    placebo = _calibrate(session)
    findings = _determinism(session)
    if (unsettled := doubt(session, placebo)) is not None:
        findings.append(unsettled)
        if unsettled.code == PLACEBO_KEPT:
            return Search(standing=Standing(), placebo=placebo, findings=findings)
    gains = _diagnose(session)
    if session.reserved > session.budget.left:
        left = max(0.0, session.budget.left)
        message = f"confirming a claim takes about {session.reserved:.0f} s here, and {left:.0f} s are left"
        advice = (
            f"give a budget of {math.ceil((session.reserved + session.ledger.elapsed) * 1.5 / 60)}m or more, or a quieter machine"
        )
        findings.append(Finding(code="budget-too-small", message=message, advice=advice))
        session.tell("warning", f"{message}; {advice}", level=Level.WARNING)
    standing = climb(session, gains)
    found = Search(standing=standing, placebo=placebo, findings=findings)
    if standing.leader is not None:
        choose_and_confirm(session, standing, found)
    if found.result is not None:
        claim_parts(session, standing, found.confirmations)
    return found


def _diagnose(session: Session) -> dict[int, float]:
    """Measure the roofs, find out where the time goes, and return instruction number → predicted gain.

    Both look at the processor; where an accelerator answers nothing is predicted, and the cards' own priors stand.
    """
    if Trait.ACCELERATOR in session.workload.traits:
        told = (
            f"on {', '.join(session.host.accelerators)}: bottleneck and roofs not measured; usual gains say what is tried first"
        )
        session.tell("diagnosis.skipped", told, level=Level.RESULT)
        return {}

    def look() -> Any:
        arguments = {"roofs": roofs, "facts": asdict(session.materials.facts)}
        return session.bench.call(session.original(), "diagnose", arguments, DIAGNOSIS_TIMEOUT)

    folder = session.ledger.folder / "logs"
    roofs = session.ledger.step("roofs", lambda: measure_roofs(seed=session.request.seed, folder=folder, seconds=ROOF_SECONDS))
    try:
        row = session.ledger.step("diagnosis", look)
    except MeasureError as error:  # it only says what to try first
        session.tell("warning", f"no diagnosis: {error}; usual gains say what is tried first", level=Level.WARNING)
        return {}
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
        advice=(
            "candidates are judged all the same, one call at a time; where this is not meant, fix dropout or random sampling, "
            "and pass what a call keeps for the next one (a hidden state, a cache) as inputs and outputs"
        ),
    )
    session.tell("warning", finding.message, level=Level.WARNING)
    return [finding]


def _calibrate(session: Session) -> Comparison:
    """Measure the noise, and set aside what confirming will take as far as anybody can tell now."""
    comparison, original = session.calibrate(), session.original()
    session.expect_confirm(original.seconds / TYPICAL_GAIN, session.pair_seconds, FAR_ROUND, TYPICAL_GAIN)
    session.tell(
        "baseline.measured", f"noise of a pair: {100 * session.spread:.1f} %; confirming is reserved {session.reserved:.0f} s"
    )
    return comparison


def describe(recipe: Recipe) -> list[str]:
    """Return number and name of each instruction of a recipe."""
    return [f"{i.number:02d} {i.name}" for i in recipe]
