"""Kinds of recipes: those whose lossy instructions are the same share the fate of their quality."""

from __future__ import annotations

from strop.contract.card import Fidelity
from strop.contract.recipe import Recipe
from strop.search.session import Session
from strop.search.trials import Trial

BARE_PART = 0.6
"""Part of a stack's gain (in logarithms) that is expected to remain without its lossy instructions."""

UNSEEN_CHANCE = 0.5
"""That a lossy recipe's quality will be confirmed, while nothing of its kind was tried."""


def lossy_part(recipe: Recipe) -> Recipe:
    """Return the instructions of a recipe that may change answers beyond rounding."""
    return Recipe(i for i in recipe if i.fidelity is Fidelity.LOSSY)


def kind(recipe: Recipe) -> frozenset[int]:
    """Return the numbers of the lossy instructions, whatever their settings."""
    return frozenset(i.number for i in lossy_part(recipe))


def chance(session: Session, trial: Trial | None, alpha: float) -> float:
    """Return the chance that the confirming data will show a trial's quality; 1 where no quality is claimed."""
    screened = trial.quality if trial is not None else None
    return session.chance_to_confirm(screened, alpha) if screened is not None else 1.0
