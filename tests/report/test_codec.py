import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import LedgerError, MeasureError
from strop.report.codec import decode, encode


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    size: float
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Tree:
    name: str
    leaves: tuple[Leaf, ...] = ()
    limit: int | None = None
    flags: frozenset[str] = frozenset()
    by_name: Mapping[str, Leaf] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


FLOATS = st.floats(allow_nan=False)
LEAVES = st.builds(Leaf, FLOATS, st.sampled_from(Colour))
TREES = st.builds(
    Tree,
    st.text(),
    st.lists(LEAVES, max_size=3).map(tuple),
    st.none() | st.integers(),
    st.frozensets(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), LEAVES, max_size=3),
    st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), max_size=2),
)


@given(TREES)
def test_anything_survives_strict_json(tree: Tree) -> None:
    assert decode(Tree, json.loads(json.dumps(encode(tree), allow_nan=False))) == tree


def test_infinity_is_a_word() -> None:
    assert encode(Leaf(math.inf)) == {"size": "Infinity", "colour": "red"}
    assert decode(Leaf, {"size": "-Infinity"}).size == -math.inf


def test_nan_is_refused_with_its_place() -> None:
    with pytest.raises(MeasureError, match=r"report\.leaves\[1\]\.size is NaN"):
        encode(Tree("a", (Leaf(1.0), Leaf(math.nan))))
    with pytest.raises(MeasureError, match=r"by_name\['x'\]\.size is NaN"):
        encode(Tree("a", by_name={"x": Leaf(math.nan)}))


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(MeasureError, match="limit is a bytes"):
        encode(Tree("a", limit=b"x"))  # type: ignore[arg-type]


def test_defaults_may_be_missing() -> None:
    assert decode(Tree, {"name": "a"}) == Tree("a")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "report lacks 'name'"),
        ({"name": "a", "leafs": []}, "unknown key 'leafs'. Did you mean 'leaves'?"),
        ({"name": 3}, "report.name should be of type str; got 3"),
        ({"name": "a", "limit": True}, "report.limit should be of type int; got True"),
        ({"name": "a", "limit": "3"}, "report.limit should be of type int"),
        ({"name": "a", "leaves": {}}, "report.leaves should be of type list"),
        ({"name": "a", "leaves": [{"size": "big"}]}, "report.leaves[0].size should be of type number; got 'big'"),
        ({"name": "a", "leaves": [{"size": 1, "colour": "bleu"}]}, "report.leaves[0].colour is 'bleu'. Did you mean 'blue'?"),
        ({"name": "a", "by_name": {"x": 1}}, "report.by_name['x'] should be of type dict"),
        ([], "report should be of type dict"),
    ],
)
def test_a_damaged_record_names_the_place(row: object, words: str) -> None:
    with pytest.raises(LedgerError) as caught:
        decode(Tree, row)
    assert words in str(caught.value)
