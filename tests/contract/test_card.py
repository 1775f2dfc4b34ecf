"""The fixed facts of an entry: the orders that the search sorts by, and the words that users write."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import strop
from strop.contract.card import Aim, Card, Cost, Family, Fidelity, Life

FOLDERS = Path(strop.__file__).parent / "instructions"


def test_the_worst_fidelity_is_the_largest() -> None:
    assert max(Fidelity.ROUNDING, Fidelity.EXACT, Fidelity.LOSSY) is Fidelity.LOSSY
    assert sorted(Fidelity) == [Fidelity.EXACT, Fidelity.ROUNDING, Fidelity.LOSSY]


def test_the_cheapest_preparation_comes_first() -> None:
    assert sorted([Cost.FIT, Cost.FREE, Cost.CALIBRATE]) == [Cost.FREE, Cost.CALIBRATE, Cost.FIT]


@pytest.mark.parametrize("kind", [Family, Aim, Life])
def test_words_are_plain_text_that_reads_back(kind: type[Family] | type[Aim] | type[Life]) -> None:
    for member in kind:
        assert kind(str(member)) is member
        assert str(member) == member.name.lower(), "so that what is typed is what is printed"


def test_every_folder_of_instructions_is_a_family() -> None:
    folders = {path.name for path in FOLDERS.iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert folders
    assert folders <= {family.value for family in Family}


def test_a_card_says_at_least_what_is_improved_and_how_far_answers_move() -> None:
    with pytest.raises(TypeError, match="fidelity"):
        Card(aims=frozenset({Aim.SIZE}))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="aims"):
        Card(fidelity=Fidelity.EXACT)  # type: ignore[call-arg]


def test_a_bare_card_is_free_stable_and_neither_enabling_nor_pinned() -> None:
    card = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)
    assert (card.cost, card.life, card.extra, card.enabler, card.pinned) == (Cost.FREE, Life.STABLE, None, False, False)
    assert card.prior > 1, "nothing is worth trying that is not expected to gain"


def test_a_card_cannot_be_changed() -> None:
    card = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.prior = 9.0  # type: ignore[misc]
