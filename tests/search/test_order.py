"""What comes first, by arithmetic on planted beliefs."""

from __future__ import annotations

import math

import pytest

from strop.contract.recipe import Recipe
from strop.search.order import Offer, expected_best, first
from strop.search.proposals import Proposal


def offer(mean: float, cost: float, *, trains: bool = False, chance: float = 1.0, spread: float = 0.15) -> Offer:
    proposal = Proposal(Recipe(), mean=mean, spread=spread)
    return Offer(proposal, chance=chance, improvement=chance * proposal.improvement(0.0), cost=cost, trains=trains)


def ranked(*offers: Offer) -> list[Offer]:
    return sorted(offers, key=lambda o: o.rate, reverse=True)


SMALL = [offer(0.03, 15.0) for _ in range(20)]
STUDENT = offer(0.47, 150.0, trains=True, chance=0.5, spread=0.25)


def test_the_best_of_one_is_what_one_promises() -> None:
    alone = offer(0.2, 1.0)
    assert expected_best([alone], 0.1) == pytest.approx(alone.proposal.improvement(0.1), rel=1e-3)
    assert expected_best([offer(0.2, 1.0, chance=0.25)], 0.1) == pytest.approx(0.25 * alone.proposal.improvement(0.1), rel=1e-3)


def test_the_best_of_many_alike_grows_as_the_largest_of_normal_draws_does() -> None:
    """Of two and of three standard normal draws the largest is 1/√π and 3/(2√π) on average; far below 0 nothing is cut."""
    wide = [offer(10.0, 1.0, spread=1.0)] * 3
    assert expected_best(wide[:2], 0.0) == pytest.approx(10 + 1 / math.sqrt(math.pi), rel=1e-3)
    assert expected_best(wide, 0.0) == pytest.approx(10 + 1.5 / math.sqrt(math.pi), rel=1e-3)


def test_nothing_and_what_cannot_be_better_promise_nothing() -> None:
    assert expected_best([], 0.0) == 0.0
    assert expected_best([offer(0.0, 1.0)], 5.0) == 0.0


def test_the_best_rate_comes_first_while_a_training_still_fits_behind_it() -> None:
    assert first(ranked(*SMALL, STUDENT), 330.0, 0.0) is not STUDENT


def test_a_training_goes_first_at_the_last_moment_at_which_it_fits() -> None:
    assert first(ranked(*SMALL, STUDENT), 15.0 + 1.25 * 150.0 - 1.0, 0.0) is STUDENT


def test_a_training_that_promises_less_than_what_it_crowds_out_waits() -> None:
    poor = offer(0.1, 150.0, trains=True, chance=0.5)
    assert first(ranked(*SMALL, poor), 200.0, 0.0) is not poor


def test_what_costs_nothing_comes_before_everything() -> None:
    known = offer(-1.0, 0.0)
    assert first(ranked(*SMALL, STUDENT, known), 170.0, 0.0) is known


def test_of_two_trainings_the_one_that_promises_more_has_the_last_moment() -> None:
    deeper = offer(0.6, 150.0, trains=True, chance=0.5, spread=0.25)
    assert first(ranked(*SMALL, STUDENT, deeper), 170.0, 0.0) is deeper
