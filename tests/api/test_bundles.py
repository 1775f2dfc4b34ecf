"""Making and opening bundles: whole or not at all, and the eager engine's need of its workload."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import strop
from strop.bundle import read_manifest
from strop.errors import ArtefactError, StropError, WorkloadError

if TYPE_CHECKING:
    from tests.conftest import WholeRun


@pytest.fixture
def eager(tiny_workload: Path, place: Path) -> Path:
    """The original as a bundle of the eager engine."""
    strop.apply("strop: 1", tiny_workload, out=place / "eager")
    return place / "eager"


@pytest.fixture
def original(workload_text: str) -> Callable[[torch.Tensor], np.ndarray[Any, Any]]:
    """Answers as the original model."""
    names: dict[str, Any] = {}
    exec(compile(workload_text, "workload.py", "exec"), names)
    model = names["build"]()

    def answer(x: torch.Tensor) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            found: np.ndarray[Any, Any] = model(x).numpy()
        return found

    return answer


def test_an_eager_bundle_finds_its_workload_and_answers_bit_for_bit(
    eager: Path, original: Callable[..., np.ndarray[Any, Any]]
) -> None:
    x = torch.randn(8, 16)
    program = strop.open_bundle(eager)
    np.testing.assert_array_equal(program(x).numpy(), original(x))
    program.close()


def test_an_eager_bundle_whose_workload_moved_is_given_the_new_place(
    eager: Path, place: Path, workload_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = json.loads((eager / "manifest.json").read_text())
    row["origin"]["reference"] = str(place / "moved.py")
    (eager / "manifest.json").write_text(json.dumps(row))
    with pytest.raises(WorkloadError, match="there is no workload file"):
        strop.open_bundle(eager, trust=True)
    (place / "elsewhere.py").write_text(workload_text)
    assert strop.open_bundle(eager, workload=str(place / "elsewhere.py"))(torch.zeros(8, 16)).shape == (8, 4)


def test_the_code_that_a_strangers_bundle_names_is_not_run(eager: Path, place: Path) -> None:
    (place / "evil.py").write_text(f"from pathlib import Path\nPath({str(place / 'ran')!r}).touch()\n")
    row = json.loads((eager / "manifest.json").read_text())
    row["origin"]["reference"] = str(place / "evil.py")
    (eager / "manifest.json").write_text(json.dumps(row))
    with pytest.raises(ArtefactError, match=r"would run the workload that it names, .*evil\.py, .*\(--trust\)"):
        strop.open_bundle(eager)
    assert not (place / "ran").exists()


def test_weights_that_do_not_fit_the_code_are_refused(eager: Path, place: Path, workload_text: str) -> None:
    (place / "other.py").write_text(
        workload_text.replace("DEPTH, WIDTH, CLASSES, BATCH = 40", "DEPTH, WIDTH, CLASSES, BATCH = 39")
    )
    with pytest.raises(ArtefactError, match="does not fit the model that the source builds"):
        strop.open_bundle(eager, workload=str(place / "other.py"))


def test_an_eager_bundle_of_a_live_object_asks_for_a_file(place: Path) -> None:
    net = torch.nn.Linear(4, 2)
    rows = [torch.randn(1, 4) for _ in range(3)]
    workload = strop.InferenceWorkload(model=lambda: net, inputs={"one": rows}, quality=strop.unjudged("a test"))
    strop.apply("strop: 1", workload, out=place / "live")
    with pytest.raises(ArtefactError, match="was made from a live object; give its workload file"):
        strop.open_bundle(place / "live")


def test_the_bundle_of_a_run_says_what_was_measured(whole_run: WholeRun) -> None:
    manifest = read_manifest(whole_run.folder / "bundle")
    assert manifest.origin.reference == str(whole_run.workload)
    assert manifest.quality["guard"] == "held"
    assert manifest.latency["all"]["speedup"] > 1
    assert manifest.latency["all"]["low"] <= manifest.latency["all"]["speedup"]
    assert set(manifest.recipe) == {"model_serving_framework"}


def test_a_bundle_opens_wherever_it_was_copied_to(
    whole_run: WholeRun, place: Path, original: Callable[..., np.ndarray[Any, Any]]
) -> None:
    folder = shutil.copytree(whole_run.folder / "bundle", place / "a copy 副本")
    x = torch.randn(8, 16)
    np.testing.assert_allclose(np.asarray(strop.open_bundle(folder)(x)), original(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("damage", ["cut", "added", "missing", "manifest"])
def test_a_damaged_bundle_is_refused_whatever_the_damage(damage: str, whole_run: WholeRun, place: Path) -> None:
    folder = shutil.copytree(whole_run.folder / "bundle", place / "bundle")
    path = max((folder / "artefact").iterdir(), key=lambda file: file.stat().st_size)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "added":
        (folder / "artefact" / "smuggled.so").write_bytes(b"x")
    elif damage == "missing":
        path.unlink()
    else:
        (folder / "manifest.json").write_text("{")
    with pytest.raises(ArtefactError):
        strop.open_bundle(folder)


def test_a_bundle_is_replaced_only_by_a_whole_one(
    eager: Path, tiny_workload: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (eager / "manifest.json").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise StropError("planted")

    monkeypatch.setattr("strop.api.bundles.bundle.write_bundle", fail)
    with pytest.raises(StropError, match="planted"):
        strop.apply("strop: 1", tiny_workload, out=eager)
    assert (eager / "manifest.json").read_bytes() == before
    assert strop.open_bundle(eager)(torch.zeros(8, 16)).shape == (8, 4)


def test_a_bundle_for_an_accelerator_asks_for_one_before_its_workload_is_loaded(eager: Path) -> None:
    row = json.loads((eager / "manifest.json").read_text())
    assert row["device"] == "cpu"
    row["device"], row["origin"]["reference"] = "cuda:97", "gone.py"
    (eager / "manifest.json").write_text(json.dumps(row))
    with pytest.raises(ArtefactError, match=r"cuda:97 is asked for, and torch finds .* open it where there is one"):
        strop.open_bundle(eager, trust=True)
