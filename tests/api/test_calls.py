"""Calls and answers as JSON: names, order, dtypes and shapes are checked before the program is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strop.api.calls import answer_json
from strop.bundle import write_bundle
from strop.contract.draft import EngineOptions
from strop.contract.signature import infer_signature
from strop.errors import UsageError

POSITIONAL = [(np.zeros((2, 3), np.float32), np.zeros(2, np.int64)), (np.zeros((5, 3), np.float32), np.zeros(5, np.int64))]
NAMED = [
    {"ids": np.zeros((1, 4), np.int64), "mask": np.ones((1, 4), bool)},
    {"ids": np.zeros((1, 9), np.int64), "mask": np.ones((1, 9), bool)},
]


CONSTANT = [{"x": np.zeros(1, np.float32), "scale": 2, "y": np.zeros(1, np.int64)}]


@pytest.fixture
def bundle(place: Path) -> Callable[[list[Any]], Path]:
    """Writes a bundle with the signature of example inputs."""

    def write(examples: list[Any]) -> Path:
        folder = place / "bundle"
        (folder / "artefact").mkdir(parents=True)
        (folder / "artefact" / "model").write_bytes(b"x")
        signature = infer_signature(examples, [np.zeros(1)] * len(examples))
        write_bundle(folder, engine="openvino", signature=signature, options=EngineOptions())
        return folder

    return write


class Program:
    """Remembers what it was called with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.args, self.kwargs = args, kwargs
        return self.answer


def ask(bundle: Path, call: Any, answer: Any = None) -> tuple[Any, Program]:
    program = Program(np.array([[1.5, -2.0]], np.float32) if answer is None else answer)
    return answer_json(program, bundle, call), program  # type: ignore[arg-type]


def test_a_list_is_all_positional_arguments(bundle: Callable[..., Path]) -> None:
    said, program = ask(bundle(POSITIONAL), [[[1, 2, 3]], [7]])
    assert said == [[1.5, -2.0]]
    assert [(a.dtype, a.tolist()) for a in program.args] == [(np.float32, [[1, 2, 3]]), (np.int64, [7])]


def test_an_object_is_all_named_arguments_in_any_order(bundle: Callable[..., Path]) -> None:
    _, program = ask(bundle(NAMED), {"mask": [[True, False]], "ids": [[5, 6]]})
    assert list(program.kwargs) == ["ids", "mask"]
    assert program.kwargs["ids"].dtype == np.int64
    assert program.kwargs["mask"].dtype == np.bool_
    assert program.kwargs["ids"].tolist() == [[5, 6]]


def test_a_constant_among_the_arguments_takes_no_array_s_place(bundle: Callable[..., Path]) -> None:
    _, program = ask(bundle(CONSTANT), {"x": [1], "scale": 2, "y": [3]})
    assert program.kwargs["scale"] == 2
    assert (program.kwargs["x"].dtype, program.kwargs["y"].dtype) == (np.float32, np.int64)
    assert program.kwargs["y"].tolist() == [3]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.array([1, 2]), [1, 2]),
        ({"logits": np.array([0.5]), "n": 3}, {"logits": [0.5], "n": 3}),
        ((np.zeros(1), None, [np.ones(1)]), [[0.0], None, [[1.0]]]),
        ("word", "word"),
    ],
)
def test_an_answer_keeps_its_structure(answer: Any, said: Any, bundle: Callable[..., Path]) -> None:
    assert ask(bundle(POSITIONAL), [[[1, 2, 3]], [7]], answer)[0] == said


@pytest.mark.parametrize(
    ("examples", "call", "message"),
    [
        (
            POSITIONAL,
            7,
            r"a call is an object of named arrays or a list of arrays; got a int. Expected: args_0 float32 \[any, 3\]",
        ),
        (POSITIONAL, None, "got a NoneType"),
        (POSITIONAL, [[[1, 2, 3]]], r"the call holds 1 arrays. Expected: args_0 float32 \[any, 3\], args_1 int64 \[any\]"),
        (POSITIONAL, {"x": 1}, "the call names x. Expected: args_0"),
        (POSITIONAL, [[[1, 2]], [7]], r"args_0 has shape \[1, 2\], \[any, 3\] was expected"),
        (POSITIONAL, [[[1, 2, 3]], 7], r"args_1 has shape \[\], \[any\] was expected"),
        (POSITIONAL, [[[1, 2, "x"]], [7]], "args_0 is not an array of float32"),
        (POSITIONAL, [[[1, 2], [3]], [7]], "args_0 is not an array of float32"),
        (NAMED, {"ids": [[1]]}, "the call names ids. Expected: ids int64"),
        (NAMED, {"ids": [[1]], "mask": [[True]], "extra": 1}, "the call names ids, mask, extra"),
        (NAMED, {}, "the call names nothing"),
        (NAMED, [[[1]], [[True]]], "the call holds 2 arrays"),
        (POSITIONAL, [[[1, 2, 3]], [7.5]], "nothing is rounded silently"),
        (POSITIONAL, [[[1, 2, 3]], [2**70]], "args_1"),
        (CONSTANT, {"x": [1], "scale": 3, "y": [2]}, "was prepared for the constant 2; 3 came"),
    ],
)
def test_a_call_that_does_not_fit_says_what_is_expected(
    examples: list[Any], call: Any, message: str, bundle: Callable[..., Path]
) -> None:
    folder = bundle(examples)
    program = Program(np.zeros(1))
    with pytest.raises(UsageError, match=message):
        answer_json(program, folder, call)  # type: ignore[arg-type]
    assert (program.args, program.kwargs) == ((), {}), "the program was not asked"
