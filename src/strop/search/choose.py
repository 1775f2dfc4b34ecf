"""Which claims to make, in which order: the chance that a quality is confirmed counts as much as the speed."""

from __future__ import annotations

from dataclasses import dataclass, field

from strop.contract.recipe import Recipe
from strop.measure.result import Comparison
from strop.pipeline import legal
from strop.search.climb import Stack, Standing
from strop.search.confirm import Confirmation, confirm
from strop.search.kinds import BARE_PART, chance, lossy_part
from strop.search.prune import prune
from strop.search.session import Session
from strop.search.trials import Trial
from strop.trial.workshop import Prepared

MOST_CLAIMS = 3
FALLEN_WEIGHT = 0.5
"""What is left of the chance that screening gives a lossy recipe, for each lossy one that the confirming data refused:
the same data judges all, and screening was too kind to them in the same way."""

FIRST_SHARE = 0.6
"""The first claim's part of alpha; the later ones share the rest, so that any false claim has a chance below alpha."""


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


def choose_and_confirm(session: Session, standing: Standing, found: Found) -> None:
    """Test the claim that promises most; if it falls, the next ones, while time is left.

    What the first claim promises includes what stands behind it: a fast recipe of doubtful quality may go first where a
    sound one would still be confirmed with the smaller alpha that is then left, and not otherwise.
    """
    options, alpha = claimable(session, standing), FIRST_SHARE * session.request.alpha
    later = (1 - FIRST_SHARE) / (MOST_CLAIMS - 1) * session.request.alpha
    while options and len(found.confirmations) < MOST_CLAIMS:
        if found.confirmations and session.budget.left < session.timing:
            return
        fallen = sum(bool(confirmation.unsound) for _, confirmation in found.confirmations)
        last = len(found.confirmations) == MOST_CLAIMS - 1
        option = best_first(session, options, alpha, 0.0 if last else later, FALLEN_WEIGHT**fallen)
        options.remove(option)
        (prepared,) = session.prepare([option.recipe], keep=session.timing)
        if not prepared.ready:
            continue
        if not found.confirmations and not session.out_of_time():
            prepared, found.ablation = prune(session, prepared)
        confirmation = confirm(session, prepared, option.screened, alpha)
        found.confirmations.append((prepared, confirmation))
        if confirmation.holds:
            found.result = prepared
            return
        alpha = later


def claimable(session: Session, standing: Standing) -> list[Option]:
    """Return the fastest sound recipe for each way of changing answers, and the leader without changing them.

    Recipes that share their lossy part share the fate of their quality, so one of each kind is enough.
    """
    kinds: dict[Recipe, Option] = {}
    for stack in sorted(standing.stacks, key=lambda stack: stack.gain, reverse=True):
        kinds.setdefault(lossy_part(stack.recipe), Option(stack.recipe, stack.gain, stack.screened, stack))
    leader = standing.leader
    if leader is not None and Recipe() not in kinds:
        bare = leader.recipe.without(*(i.number for i in lossy_part(leader.recipe)))
        if len(bare) and legal(bare, session.workload.traits) is None:
            kinds[Recipe()] = Option(bare, BARE_PART * leader.gain, leader.screened)
    return list(kinds.values())


def best_first(session: Session, options: list[Option], alpha: float, later: float, trust: float = 1.0) -> Option:
    """Return the option with which the expected gain is largest, counting the best one behind it should it fall.

    Args:
        session: the run.
        options: what may be claimed.
        alpha: error probability of the claim that is to be chosen.
        later: that of the one behind it; 0 when no claim may follow.
        trust: factor on the chances that screening gives, in (0, 1].
    """

    def promise(option: Option) -> float:
        holds = likely(option, alpha)
        behind = max((likely(o, later) * o.gain for o in options if o is not option), default=0.0) if later else 0.0
        return holds * option.gain + (1 - holds) * behind

    def likely(option: Option, share: float) -> float:
        screened = chance(session, option.stack.trial if option.stack is not None else None, share)
        return screened * trust if lossy_part(option.recipe) else screened

    return max(options, key=promise)
