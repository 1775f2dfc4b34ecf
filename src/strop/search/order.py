"""What comes first: what improves most per second, save a long trial at the last moment at which it fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strop.search.proposals import Proposal
from strop.units import Ratio, Seconds

LAST_MOMENT: Ratio = 1.25
"""A training is begun while its time, thought of so generously, is left: one that is cut off was for nothing."""

CELLS, REACH = 100, 4.0
"""Steps of the integral, and how many standard deviations it goes beyond the highest mean."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A proposal and what trying it asks and promises.

    Attributes:
        proposal: what to try.
        chance: that its quality will be confirmed.
        improvement: expected, of what the run will end with.
        cost: seconds to prepare and try it.
        trains: whether preparing it trains.
    """

    proposal: Proposal
    chance: Ratio
    improvement: float
    cost: Seconds
    trains: bool = False

    @property
    def rate(self) -> float:
        """Expected improvement per second; endless for what is on record and costs nothing."""
        return self.improvement / self.cost if self.cost else math.inf


def first(ranked: Sequence[Offer], left: Seconds, best: float) -> Offer:
    """Return the offer to take up next.

    The best rate comes first. A training has a low rate and would wait until nothing that it needs is left; so it goes first
    at the last moment at which it fits, if what remains to be tried beside it promises more with it than without (the 0-1
    knapsack with two candidate packings).

    Args:
        ranked: what may be tried and fits, at least one, the best rate first.
        left: seconds until the reserve.
        best: logarithm of the leader's speed-up.
    """
    head, quick = ranked[0], [o for o in ranked if not o.trains]
    training = max((o for o in ranked if o.trains), key=lambda o: o.improvement, default=head)
    if training is head or not head.cost or head.cost + LAST_MOMENT * training.cost <= left:
        return head
    beside = [training, *_pack(quick, left - training.cost)]
    return training if expected_best(beside, best) > expected_best(_pack(quick, left), best) else head


def expected_best(offers: Sequence[Offer], best: float) -> float:
    """Return the expected improvement over ``best`` of the best of several offers, each of which may come to nothing.

    ``E[max(0, g₁ - best, g₂ - best, …)]`` for independent normal beliefs ``gᵢ`` that hold with their chances, by the midpoint
    rule on the survival function.
    """
    if not offers:
        return 0.0
    top = max(o.proposal.mean + REACH * o.proposal.spread for o in offers) - best
    if top <= 0:
        return 0.0
    step, total = top / CELLS, 0.0
    for cell in range(CELLS):
        gain, none_above = best + (cell + 0.5) * step, 1.0
        for offer in offers:
            z = (gain - offer.proposal.mean) / offer.proposal.spread
            none_above *= 1 - offer.chance * 0.5 * math.erfc(z / math.sqrt(2))
        total += (1 - none_above) * step
    return total


def _pack(ranked: Sequence[Offer], left: Seconds) -> list[Offer]:
    """Return what fits into the time one after the other, the best rate first."""
    packed: list[Offer] = []
    for offer in ranked:
        if offer.cost <= left:
            packed.append(offer)
            left -= offer.cost
    return packed
