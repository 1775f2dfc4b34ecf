"""``strop run``: one call to a bundle, JSON in and JSON out."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from tests.cli.conftest import Answer
    from tests.conftest import WholeRun

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]

ROWS = np.linspace(-1, 1, 8 * 16, dtype=np.float32).reshape(8, 16)


@pytest.fixture
def bundle(whole_run: WholeRun) -> Path:
    """The bundle that the whole run handed over."""
    return whole_run.folder / "bundle"


@pytest.fixture
def call(place: Path) -> Path:
    """A file with one call."""
    path = place / "a call 呼.json"
    path.write_text(json.dumps([ROWS.tolist()]))
    return path


@pytest.fixture
def answer_of_original(workload_text: str) -> np.ndarray[Any, Any]:
    """What the original model answers to the call."""
    names: dict[str, Any] = {}
    exec(compile(workload_text, "workload.py", "exec"), names)
    with torch.inference_mode():
        answer: np.ndarray[Any, Any] = names["build"]()(torch.from_numpy(ROWS)).numpy()
    return answer


def test_a_bundle_answers_as_the_original_does(
    bundle: Path, call: Path, answer_of_original: np.ndarray[Any, Any], strop_cli: Cli, json_value: Json
) -> None:
    answer = strop_cli("run", bundle, "--input", call)
    assert answer.code == 0
    np.testing.assert_allclose(json_value(answer.out), answer_of_original, rtol=1e-3, atol=1e-3)


def test_a_call_is_read_from_standard_input_too(
    bundle: Path, call: Path, strop_cli: Cli, json_value: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(call.read_text()))
    assert np.shape(json_value(strop_cli("run", bundle).out)) == (8, 4)


def test_a_mistyped_bundle_is_told_before_the_input_is_read(place: Path, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = strop_cli("run", place / "nowhere")
    assert answer.code == 1 and "nowhere is not a bundle" in answer.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{not json", "is not JSON"),
        ("", "is not JSON"),
        ("1", "a call is an object of named arrays or a list of arrays; got a int"),
        ("[]", "the call holds 0 arrays. Expected: args_0 float32 [8, 16]"),
        ("[[1], [2]]", "the call holds 2 arrays"),
        ('{"x": [[1]]}', "the call names x. Expected: args_0 float32 [8, 16]"),
        ("[[[1, 2], [3, 4]]]", "args_0 has shape [2, 2], [8, 16] was expected"),
        ('[[["a"]]]', "args_0 is not an array of float32"),
        ("[[[1, 2], [3]]]", "args_0 is not an array of float32"),
    ],
)
def test_a_call_that_does_not_fit_says_what_is_expected(
    text: str, message: str, bundle: Path, place: Path, strop_cli: Cli
) -> None:
    (place / "call.json").write_text(text)
    answer = strop_cli("run", bundle, "--input", "call.json")
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


def test_an_input_file_that_is_missing_is_named(bundle: Path, strop_cli: Cli) -> None:
    answer = strop_cli("run", bundle, "--input", "missing.json")
    assert answer.code == 2
    assert "missing.json cannot be read: No such file" in answer.err


def test_a_damaged_bundle_is_refused_and_the_file_named(bundle: Path, call: Path, place: Path, strop_cli: Cli) -> None:
    copy = shutil.copytree(bundle, place / "copy")
    path = max((copy / "artefact").iterdir(), key=lambda file: file.stat().st_size)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    answer = strop_cli("run", copy, "--input", call)
    assert (answer.code, answer.out) == (1, "")
    assert f"artefact/{path.name} is damaged" in answer.err


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 2}'])
def test_a_folder_that_is_no_bundle_is_refused(content: str | None, call: Path, place: Path, strop_cli: Cli) -> None:
    (place / "folder").mkdir()
    if content is not None:
        (place / "folder" / "manifest.json").write_text(content)
    answer = strop_cli("run", place / "folder", "--input", call)
    assert (answer.code, answer.out) == (1, "")
    assert "Traceback" not in answer.err
    assert answer.err.startswith("strop: ")


def test_compiled_code_from_elsewhere_is_run_only_when_it_is_trusted(
    call: Path, place: Path, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was written here is decided by a record in the cache, so a new cache makes every bundle foreign."""
    from strop import bundle as bundles
    from strop.contract.draft import EngineOptions
    from strop.contract.signature import infer_signature

    folder = place / "bundle"
    (folder / "artefact").mkdir(parents=True)
    (folder / "artefact" / "model.pt2").write_bytes(b"compiled code")
    signature = infer_signature([ROWS], [np.zeros((8, 4), np.float32)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "elsewhere"))
    bundles.write_bundle(folder, engine="inductor", signature=signature, options=EngineOptions())
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "here"))
    monkeypatch.setenv("STROP_CACHE", str(place / "here"))
    opened: list[Path] = []

    def load(engine: object, artefact: Path, *_: object) -> Any:
        opened.append(artefact)
        return lambda x: np.ones((8, 4), np.float32)

    monkeypatch.setattr("strop.engines.inductor.InductorEngine.open", load)
    answer = strop_cli("run", folder, "--input", call)
    assert answer.code == 1
    assert "would run compiled code in it, and it was not written on this machine" in answer.err
    assert "--trust" in answer.err
    assert opened == []
    assert strop_cli("run", folder, "--input", call, "--trust").code == 0
    assert opened == [folder / "artefact"]
