"""Kinds of recipes: those whose lossy instructions are the same share the fate of their quality."""

from __future__ import annotations

from collections.abc import Iterable

from strop.contract.card import Fidelity
from strop.contract.recipe import Recipe
from strop.search.session import Session
from strop.search.trials import Trial

BARE_PART = 0.6
"""Part of the gain (in logarithms) of a stack with few lossy instructions that is expected to remain without them."""

UNSEEN_CHANCE = 0.5
"""That a lossy recipe's quality will be confirmed, while nothing of its kind was tried."""


def lossy_part(recipe: Recipe) -> Recipe:
    """Return the instructions of a recipe that may change answers beyond rounding."""
    return Recipe(i for i in recipe if i.fidelity is Fidelity.LOSSY)


def kind(recipe: Recipe) -> frozenset[int]:
    """Return the numbers of the lossy instructions, whatever their settings."""
    return frozenset(i.number for i in lossy_part(recipe))


def bare(recipe: Recipe) -> Recipe:
    """Return a recipe without its lossy instructions."""
    return recipe.without(*(i.number for i in lossy_part(recipe)))


def bare_gain(tried: Iterable[tuple[Recipe, float]]) -> float:
    """Return the gain expected without any lossy instruction: part of the best that was had with fewest of them.

    Not of the leader's: what a smaller network gains is gone with it, whole.

    Args:
        tried: recipes and the logarithms of their speed-ups; at least one.
    """
    _, gain = min(tried, key=lambda row: (len(lossy_part(row[0])), -row[1]))
    return BARE_PART * gain


def chance(session: Session, trial: Trial | None, alpha: float) -> float:
    """Return the chance that the confirming data will show a trial's quality; 1 where no quality is claimed."""
    screened = trial.quality if trial is not None else None
    return session.chance_to_confirm(screened, alpha) if screened is not None else 1.0
