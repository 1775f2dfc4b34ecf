"""Settings to plain values and back: through JSON, through YAML that is all text, and refused in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.settings import Choices, annotated_space, decode, encode
from strop.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One field of every kind that an instruction may have."""

    count: Annotated[int, Choices(1, 8, 16)] = 1
    rate: float = 0.5
    on: bool = True
    mode: Annotated[Literal["fast", "slow"], Choices("fast", "slow")] = "fast"
    level: Literal[0, 1, 2] = 0
    smooth: float | None = None
    text: str = "plain"
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 0.5)
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A setting that has a limit of its own, and one that must be given."""

    share: float
    deep: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is between 0 and 1, got {self.share}")


WORDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8).filter(
    lambda word: word not in ("", "null", "none", "~")
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PROBES = st.builds(
    Probe,
    count=st.integers(-(2**40), 2**40),
    rate=NUMBERS,
    on=st.booleans(),
    mode=st.sampled_from(["fast", "slow"]),
    level=st.sampled_from([0, 1, 2]),
    smooth=st.none() | NUMBERS,
    text=WORDS,
    names=st.lists(WORDS, max_size=3).map(tuple),
    pair=st.tuples(st.integers(-9, 9), NUMBERS),
    limits=st.dictionaries(WORDS, st.integers(0, 9), max_size=3),
)


def as_text(values: Mapping[str, Any]) -> Any:
    """Return values as a recipe file gives them: every scalar is text."""
    return yaml.load(yaml.safe_dump(dict(values), allow_unicode=True), Loader=yaml.BaseLoader)


@given(PROBES)
def test_settings_survive_json(probe: Probe) -> None:
    assert decode(Probe, json.loads(json.dumps(encode(probe)))) == probe


@given(PROBES)
def test_settings_survive_a_file_in_which_everything_is_text(probe: Probe) -> None:
    assert decode(Probe, as_text(encode(probe))) == probe


def test_settings_at_their_defaults_are_left_out() -> None:
    assert encode(Bounded(share=0.0)) == {"share": 0.0}, "without a default there is nothing to leave out"
    shown = encode(Probe(count=8, names=("a",)))
    assert {"count": 8, "names": ["a"]}.items() <= shown.items()
    assert not {"rate", "on", "mode", "smooth", "pair"} & set(shown)


def test_nested_tuples_come_back_as_tuples() -> None:
    bounded = Bounded(share=1.0, deep=((1, 2), ()))
    assert encode(bounded)["deep"] == [[1, 2], []]
    read = decode(Bounded, as_text(encode(bounded)))
    assert read == bounded and hash(read) == hash(bounded)


@pytest.mark.parametrize("word", ["true", "Yes", "ON"])
def test_words_for_true(word: str) -> None:
    assert decode(Probe, {"on": word}).on is True


@pytest.mark.parametrize("word", ["false", "No", "OFF"])
def test_words_for_false(word: str) -> None:
    assert decode(Probe, {"on": word}).on is False


@pytest.mark.parametrize("word", [None, "null", "none", "~", ""])
def test_words_for_nothing(word: str | None) -> None:
    assert decode(Probe, {"smooth": word}).smooth is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cuont": 1}, r"Probe has no setting 'cuont'\. Did you mean 'count'\?"),
        ({"zzz": 1}, r"no setting 'zzz'\. Known: count, level, limits"),
        ({"count": "many"}, "whole number.*'many'"),
        ({"count": "2.5"}, "whole number.*'2.5'"),
        ({"count": 2.5}, r"whole number.*2\.5"),
        ({"count": float("inf")}, "whole number.*inf"),
        ({"count": True}, "number was expected, got True"),
        ({"count": None}, "whole number.*None"),
        ({"count": [1]}, r"whole number.*\[1\]"),
        ({"rate": "fast"}, "number was expected, got 'fast'"),
        ({"rate": "nan"}, "number was expected, got 'nan'"),
        ({"rate": float("nan")}, "number was expected, got nan"),
        ({"rate": False}, "number was expected, got False"),
        ({"on": 1}, "true or false was expected, got 1"),
        ({"on": "maybe"}, "true or false was expected, got 'maybe'"),
        ({"mode": "medium"}, "'medium' is not one of 'fast', 'slow'"),
        ({"level": "3"}, "'3' is not one of 0, 1, 2"),
        ({"smooth": "some"}, "number was expected, got 'some'"),
        ({"text": 3}, "text was expected, got 3"),
        ({"names": "a, b"}, "list was expected, got 'a, b'"),
        ({"names": [1]}, "text was expected, got 1"),
        ({"pair": [1]}, r"list of 2 was expected, got \[1\]"),
        ({"pair": [1, 2, 3]}, r"list of 2 was expected, got \[1, 2, 3\]"),
        ({"limits": "a"}, "mapping was expected, got 'a'"),
        ({"limits": {"a": "b"}}, "whole number.*'b'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_setting_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        decode(Probe, values)
    assert next(iter(values)) in str(caught.value) and "Probe" in str(caught.value)


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert decode(Probe, {"count": 8.0}).count == 8 and type(decode(Probe, {"count": 8.0}).count) is int
    assert decode(Probe, {"rate": 2}).rate == 2.0 and type(decode(Probe, {"rate": 2}).rate) is float
    assert decode(Probe, {"rate": "1e-5"}).rate == 1e-5


def test_a_limit_of_the_entry_itself_keeps_its_words() -> None:
    with pytest.raises(RecipeError, match=r"Bounded: share is between 0 and 1, got 1\.5"):
        decode(Bounded, {"share": "1.5"})
    with pytest.raises(RecipeError, match=r"Bounded.*share"):
        decode(Bounded, {})


def test_choices_are_read_off_the_annotations_in_order() -> None:
    assert annotated_space(Probe) == {"count": (1, 8, 16), "mode": ("fast", "slow")}
    assert annotated_space(Bounded) == {}


def test_every_choice_offered_is_a_value_that_reads_back() -> None:
    for name, values in annotated_space(Probe).items():
        for value in values:
            assert getattr(decode(Probe, as_text({name: value})), name) == value


def test_equal_choices_are_equal() -> None:
    assert Choices(1, 2) == Choices(1, 2) != Choices(2, 1)
    assert hash(Choices(1, 2)) == hash(Choices(1, 2))
