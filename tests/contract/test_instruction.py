"""Entries: number and name from the file, moments from the methods, and what a bare one answers."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft, Facts
from strop.contract.instruction import Deliverable, Inspection, Instruction, Launch, identity
from strop.contract.moment import Moment
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, ties
from strop.measure.host import Host
from strop.testing.models import mlp_draft

HOST = Host(cpu="a test CPU", cores=2)


@dataclass(frozen=True, kw_only=True)
class Planted(Instruction):
    """Acts twice, its methods written in the wrong order."""

    __module__ = "a_plugin.inference.i91_planted_thing"
    card = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)
    rate: Annotated[int, Choices(1, 2)] = 1
    other: float = 0.5

    def ties(self) -> Ties:
        return ties()

    def at_serve(self, draft: Draft, tally: Tally) -> None:
        tally.add("served")

    def at_freeze(self, draft: Draft, tally: Tally) -> None:
        tally.add("frozen")


@dataclass(frozen=True, kw_only=True)
class Heir(Planted):
    """Inherits moments and adds one; an attribute that is no function is no moment."""

    __module__ = "i05_heir"
    at_data = None

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        tally.add("lowered")


def test_number_and_name_are_read_from_the_file() -> None:
    assert (Planted().number, Planted().name) == identity(Planted) == (91, "planted_thing")
    assert identity(Heir) == (5, "heir")


@pytest.mark.parametrize("module", ["mine", "i5_short", "i123_long", "i29_", "x29_name", "i29_name.inner", "i29 name", ""])
def test_a_class_in_a_file_of_another_name_is_refused(module: str) -> None:
    stray = type("Stray", (Planted,), {"__module__": module})
    with pytest.raises(TypeError, match=r"Stray must live in a file named iNN_name\.py; it lives in"):
        identity(stray)


def test_moments_are_the_methods_in_the_order_of_a_life() -> None:
    assert Planted().moments() == (Moment.FREEZE, Moment.SERVE)
    assert Heir().moments() == (Moment.FREEZE, Moment.LOWER, Moment.SERVE)


def test_a_bare_instruction_launches_nothing_declines_nothing_and_offers_its_choices() -> None:
    planted = Planted()
    assert planted.launch(HOST) == Launch(environment={}, processes=1)
    assert planted.decline(mlp_draft(), HOST) is None
    assert planted.space(Facts(), HOST) == {"rate": (1, 2)}
    assert planted.opening == frozenset()


def test_launches_do_not_share_their_environment() -> None:
    one = Launch()
    one.environment["X"] = "1"  # type: ignore[index]
    assert Launch().environment == {}


@pytest.mark.parametrize(
    ("base", "missing"), [(Instruction, "ties"), (Inspection, "inspect"), (Deliverable, "render")], ids=lambda v: str(v)
)
def test_each_kind_has_one_method_that_must_be_written(base: type[Any], missing: str) -> None:
    with pytest.raises(TypeError, match=f"abstract.*{missing}"):
        type("Empty", (base,), {})()
    assert type("Filled", (base,), {missing: lambda *_: None})()
