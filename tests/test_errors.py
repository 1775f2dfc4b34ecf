import inspect
import re

import pytest

import strop.errors as errors
from strop.errors import MissingExtraError, StropError, UsageError, did_you_mean


def _classes() -> list[type[Exception]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


def test_every_error_is_a_strop_error_with_a_docstring() -> None:
    for error in _classes():
        assert issubclass(error, StropError)
        assert error.__doc__


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)(\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            drawn[found[2]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in _classes()}


def test_a_missing_extra_carries_the_command() -> None:
    error = MissingExtraError("engine openvino", "openvino")
    assert isinstance(error, UsageError)
    assert error.extra == "openvino"
    assert "engine openvino" in str(error)
    assert "pip install 'strop[openvino]'" in str(error)


def test_the_nearest_name_is_offered() -> None:
    assert did_you_mean("latncy", ["memory", "latency"]) == " Did you mean 'latency'?"


def test_without_a_near_name_all_are_listed_in_order() -> None:
    assert did_you_mean("zzz", ["memory", "latency"]) == " Known: latency, memory."


@pytest.mark.parametrize("name", ["", "a", "latency"])
def test_did_you_mean_always_gives_a_sentence(name: str) -> None:
    assert did_you_mean(name, iter(["latency"])).startswith(" ")
