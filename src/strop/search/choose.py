"""Which claims to make, in which order and with which part of alpha: the chance that a quality is confirmed counts, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations, pairwise, permutations
from typing import Any

from strop.contract.recipe import Recipe
from strop.measure.result import Comparison
from strop.observe import Level
from strop.pipeline import legal
from strop.search.climb import Stack, Standing
from strop.search.confirm import Confirmation, confirm
from strop.search.kinds import bare, bare_gain, chance, lossy_part
from strop.search.prune import prune
from strop.search.run import least_rounds
from strop.search.session import Session
from strop.search.trials import Trial
from strop.trial.workshop import Prepared

MOST_CLAIMS = 3
SHARES = 10
"""Alpha is shared out between claims in tenths: with less than one, five rounds show only the plainest gains."""

FALLEN_WEIGHT = 0.5
"""What is left of the chance that screening gives a lossy recipe where the confirming data refused one that was sure to hold:
the same data judges all, and screening was too kind to them in the same way. A fall that was likely says less."""

SPEED_CHANCE = 0.95
"""That a speed which screening saw will be confirmed."""


@dataclass(slots=True)
class Found:
    """What confirming gave.

    Attributes:
        result: the confirmed recipe; ``None`` when no claim held.
        confirmations: every claim tested, in order; the last one holds if there is a result.
        ablation: instruction name → the stack with it against the stack without it.
    """

    result: Prepared | None = None
    confirmations: list[tuple[Prepared, Confirmation]] = field(default_factory=list)
    ablation: list[tuple[str, Trial]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Option:
    """A recipe that may be claimed about.

    Attributes:
        recipe: the recipe.
        gain: expected logarithm of its speed-up.
        screened: the comparison that sizes its rounds.
        stack: where it was tried; ``None`` for a stack less its lossy part, which never was.
    """

    recipe: Recipe
    gain: float
    screened: Comparison
    stack: Stack | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed, the error probability it is tested with, and the chance that it will then hold."""

    option: Option
    alpha: float
    chance: float


def choose_and_confirm(session: Session, standing: Standing, found: Found) -> None:
    """Test the planned claims in order until one holds, while time is left."""
    for claim in registered_claims(session, claimable(session, standing)):
        recipe, timing = claim.option.recipe, least_rounds(session.request) * session.round_seconds
        begun = session.ledger.done(f"registered/{recipe.key}")
        if found.confirmations and session.budget.left < timing and not begun:
            session.tell("warning", f"no time is left to confirm {recipe} in its place", level=Level.WARNING)
            return
        (prepared,) = session.prepare([recipe], keep=timing)
        if prepared.ready and not found.confirmations:
            prepared, found.ablation = prune(session, prepared)
        if not prepared.ready:
            unready = f"{prepared.recipe} cannot be confirmed: {prepared.preparation.reason}"
            session.tell("warning", unready, level=Level.WARNING)
            continue
        confirmation = confirm(session, prepared, claim.option.screened, claim.alpha)
        found.confirmations.append((prepared, confirmation))
        if confirmation.holds:
            found.result = prepared
            return


def claimable(session: Session, standing: Standing) -> list[Option]:
    """Return the fastest sound recipe for each way of changing answers, and the leader without changing them.

    Recipes that share their lossy part share the fate of their quality, so one of each kind is enough.
    """
    kinds: dict[Recipe, Option] = {}
    for stack in sorted(standing.stacks, key=lambda stack: stack.gain, reverse=True):
        kinds.setdefault(lossy_part(stack.recipe), Option(stack.recipe, stack.gain, stack.screened, stack))
    leader = standing.leader
    if leader is not None and Recipe() not in kinds:
        plain = bare(leader.recipe)
        if len(plain) and legal(plain, session.workload.traits) is None:
            kinds[Recipe()] = Option(plain, bare_gain((s.recipe, s.gain) for s in standing.stacks), leader.screened)
    return list(kinds.values())


def registered_claims(session: Session, options: list[Option]) -> list[Claim]:
    """Plan the claims and write the plan down before the first is tested; return them in order."""
    known = {option.recipe.key: option for option in options}

    def register() -> list[dict[str, Any]]:
        planned = plan_claims(session, options)
        return [{"recipe": claim.option.recipe.key, "alpha": claim.alpha, "chance": claim.chance} for claim in planned]

    rows = session.ledger.step("registered/claims", register)
    return [Claim(known[row["recipe"]], row["alpha"], row["chance"]) for row in rows]


def plan_claims(session: Session, options: list[Option]) -> list[Claim]:
    """Return the claims with which the expected gain is largest, and how they share alpha.

    A claim is tested where all before it fell, so a fast recipe of doubtful quality may go before a sound one; as much of
    alpha as the sound one needs is kept for it. Order and shares are settled by screening alone, before the confirming data
    is looked at, so the chance that any claim holds falsely is at most the sum of the shares.
    """
    share = session.request.alpha / SHARES
    chances = [[_chance(session, option, parts * share) for parts in range(SHARES + 1)] for option in options]

    def expected(plan: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[float, tuple[int, ...]]:
        parts, order = plan
        gain = _expected_gain([(options[i], chances[i][part]) for i, part in zip(order, parts, strict=True)])
        return round(gain, 9), parts  # where it is all the same the first claim gets most

    counts = range(1, min(MOST_CLAIMS, len(options)) + 1)
    cuts = [cut for count in counts for cut in combinations(range(1, SHARES), count - 1)]
    shared = [tuple(b - a for a, b in pairwise((0, *cut, SHARES))) for cut in cuts]
    parts, order = max(
        ((parts, order) for parts in shared for order in permutations(range(len(options)), len(parts))), key=expected
    )
    return [Claim(options[i], part * share, chances[i][part]) for i, part in zip(order, parts, strict=True)]


def _chance(session: Session, option: Option, alpha: float) -> float:
    return SPEED_CHANCE * chance(session, option.stack.trial if option.stack is not None else None, alpha)


def _expected_gain(claims: list[tuple[Option, float]]) -> float:
    """Return the gain that claims tested in order are expected to end with, each given with its chance."""
    gain, reached, trust = 0.0, 1.0, 1.0
    for option, holds in claims:
        if lossy_part(option.recipe):
            holds *= trust
            trust *= 1 - (1 - FALLEN_WEIGHT) * holds
        gain += reached * holds * option.gain
        reached *= 1 - holds
    return gain
