"""The planted target does what it says, to the unit."""

import pytest

from strop.errors import UsageError
from strop.measure.target import Target
from strop.testing.tiny import TinyTarget, tiny


def products(target: TinyTarget, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the matrix products of one call."""
    seen = 0

    weights = target._weights

    class Weights:
        __array_ufunc__ = None

        def __rmatmul__(self, x: object) -> object:
            nonlocal seen
            seen += 1
            return x @ weights  # type: ignore[operator]

    monkeypatch.setattr(target, "_weights", Weights())
    target.run("tiny", 0)
    monkeypatch.setattr(target, "_weights", weights)
    return seen


def test_it_is_a_target() -> None:
    assert isinstance(tiny({}), Target)


@pytest.mark.parametrize(("extra", "work"), [(0.0, 40), (0.05, 42), (0.10, 44), (-0.05, 38), (1.0, 80)])
def test_extra_work_is_a_whole_number_of_products(extra: float, work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert products(tiny({"extra": extra}), monkeypatch) == work


def test_a_share_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(UsageError, match="plant a whole number"):
        tiny({"units": 40, "extra": 0.03})


def test_answers_repeat_across_instances_and_differ_between_inputs() -> None:
    assert tiny({}).digest("tiny", 3) == tiny({}).digest("tiny", 3) != tiny({}).digest("tiny", 4)
    target = tiny({"points": {"a": 2, "b": 2}})
    assert target.shapes("a", 0) == [[64, 64]]
    assert target.shapes("b", 0) == [[128, 64]]
    assert len(target.call("evaluate", {"point": "a"})) == 2


def test_a_variant_is_another_input() -> None:
    target = tiny({})
    target.run("tiny", 0)
    plain = target.answer_digest()
    target.run_variant("tiny", 0, 5)
    assert target.answer_digest() != plain


def test_plants_that_alter_answers() -> None:
    honest = tiny({})
    assert tiny({"plant": "wrong"}).digest("tiny", 0) != honest.digest("tiny", 0)
    assert tiny({"plant": "shape"}).shapes("tiny", 0) == [[63, 64]]
    moody = tiny({"plant": "moody"})
    assert moody.digest("tiny", 0) != moody.digest("tiny", 0)
    cheat = tiny({"plant": "cheat"})
    cheat.run("tiny", 0)
    assert cheat.answer_digest() != cheat.digest("tiny", 0) == honest.digest("tiny", 0)


def test_a_remembered_answer_costs_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tiny({"plant": "cache"})
    assert products(cached, monkeypatch) == 40
    assert products(cached, monkeypatch) == 0
    cached.run("tiny", 1)
    assert products(cached, monkeypatch) == 40


def test_a_fault_waits_for_its_call() -> None:
    target = tiny({"plant": "raise", "after": 2})
    target.run("tiny", 0)
    target.run("tiny", 0)
    with pytest.raises(ValueError, match="planted error"):
        target.run("tiny", 0)
