"""What instructions ask of each other is sets of traits: order and repetition mean nothing."""

from __future__ import annotations

import pytest

from strop.contract.ties import Ties, Trait, ties


def test_order_and_repetition_of_traits_mean_nothing() -> None:
    one = ties(needs=(Trait.ENGINE, Trait.INFERENCE), adds=(Trait.QUANTIZED, Trait.QUANTIZED))
    other = ties(needs=(Trait.INFERENCE, Trait.ENGINE), adds=(Trait.QUANTIZED,))
    assert one == other and hash(one) == hash(other)


def test_each_word_fills_its_own_set() -> None:
    made = ties(needs=(Trait.ENGINE,), adds=(Trait.COMPILED,), excludes=(Trait.QUANTIZED,))
    assert made == Ties(needs=frozenset({Trait.ENGINE}), adds=frozenset({Trait.COMPILED}), excludes=frozenset({Trait.QUANTIZED}))


def test_nothing_is_tied_unless_said() -> None:
    assert ties() == Ties() == Ties(frozenset(), frozenset(), frozenset())


def test_sets_cannot_be_given_without_their_word() -> None:
    with pytest.raises(TypeError, match="positional"):
        ties((Trait.ENGINE,))  # type: ignore[call-arg]


def test_traits_read_as_words_in_a_sentence() -> None:
    texts = [str(trait) for trait in Trait]
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and "_" not in text and not text.endswith(".") for text in texts)
