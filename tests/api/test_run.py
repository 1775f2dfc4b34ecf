"""Opening a run: where the workload comes from, who may write, what is shared with the cache; and trials that misbehave."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import strop
from strop import catalogue
from strop.api.run import PREPARING, _origin, open_ledger, open_session, refer
from strop.contract.recipe import Recipe
from strop.errors import PrepareError, RunDirectoryError, UsageError, WorkloadError
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.ledger.files import read_json
from strop.measure.host import Host
from strop.observe import silent
from strop.pipeline import Outcome, artefact_key
from strop.search.request import Request
from strop.search.session import Session
from strop.search.trials import run_trial


def live(model: Any = None) -> strop.InferenceWorkload:
    net = torch.nn.Linear(4, 2)
    rows = [torch.randn(1, 4) for _ in range(12)]
    return strop.InferenceWorkload(
        model=model or (lambda: net),
        inputs={"one": rows[:2]},
        screening=strop.Split(inputs=rows[2:6]),
        confirming=strop.Split(inputs=rows[6:]),
    )


def session_about(workload: Any, folder: Path, check: Any, **settings: Any) -> Any:
    """Open a session as every verb does, and return what ``check`` makes of it."""
    fresh = settings.pop("fresh", False)
    with (
        refer(workload) as reference,
        open_ledger(folder, {"command": "test"}, resume=False) as ledger,
        open_session(reference, Request(**settings), ledger, silent, fresh=fresh) as session,
    ):
        return check(session)


def test_a_file_is_referred_to_by_its_place_and_a_live_object_by_a_private_pipe(tiny_workload: Path) -> None:
    with refer(tiny_workload) as by_path, refer(f"{tiny_workload}:workload") as by_name:
        assert (by_path.kind, by_path.value, by_path.replayable) == ("file", str(tiny_workload), True)
        assert by_name.value == f"{tiny_workload}:workload"
    with refer(live()) as handed:
        assert (handed.kind, handed.replayable) == ("live", False)
        assert set(handed.load().inputs) == {"one"}
        address = Path(handed.value)
        assert address.exists()
    assert not address.exists(), "the pipe ends with the context"
    with pytest.raises(WorkloadError, match="only file references can be replayed"):
        handed.load()


def test_options_belong_to_hub_workloads() -> None:
    with refer("hf:a-model", task="text-classification", data="", text="t") as reference:
        assert (reference.kind, reference.value) == ("hf", "a-model")
        assert reference.options == {"task": "text-classification", "text": "t"}


def test_a_workload_that_cannot_travel_says_so() -> None:
    lock = threading.Lock()
    with pytest.raises(WorkloadError, match="cannot be handed to another process"), refer(live(model=lambda: lock)):
        pass


def test_the_same_question_is_resumed_and_another_is_refused_by_name(place: Path) -> None:
    asked = {"command": "optimize", "request": {"only": (1, 2)}}
    with open_ledger(place / "run", asked, resume=False) as ledger:
        ledger.step("one", lambda: 1)
    with open_ledger(place / "run", asked, resume=True) as ledger:
        assert ledger.done("one"), "tuples come back as lists, which is no other question"
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        open_ledger(place / "run", asked, resume=False)
    with pytest.raises(UsageError, match="was started with another request; resume it with the same arguments"):
        open_ledger(place / "run", {**asked, "request": {"only": (1,)}}, resume=True)
    with open_ledger(place / "run", asked, resume=True) as ledger:
        assert ledger.done("one"), "the right question is taken after a wrong one, by the same process"


def test_a_session_writes_data_machine_and_events_once(tiny_workload: Path, place: Path) -> None:
    def look(session: Session) -> dict[str, Any]:
        session.tell("planted", "hello")
        assert session.materials.points == ("batch 8",)
        assert session.baseline.ready
        assert set(session.workload.splits) == {"calibration", "screening", "confirming"}
        return {name: read_json(place / "run" / f"{name}.json") for name in ("env", "host")}

    wrote = session_about(tiny_workload, place / "run", look)
    assert wrote["host"]["cores"] == len(os.sched_getaffinity(0)) or wrote["host"]["cores"] >= 1
    assert "torch" in wrote["env"]["libraries"]
    assert '"hello"' in (place / "run" / "events.jsonl").read_text()
    assert (place / "run" / "materials" / "materials.json").exists()


def test_artefacts_are_cached_by_content_unless_they_must_be_fresh(tiny_workload: Path, place: Path) -> None:
    def where(session: Session) -> Path:
        return session.baseline.folder

    first = session_about(tiny_workload, place / "1", where)
    assert first.is_relative_to(place / "cache")
    assert session_about(tiny_workload, place / "2", where) == first
    assert session_about(tiny_workload, place / "3", where, seed=1) != first, "the seed decides about artefacts"
    assert session_about(tiny_workload, place / "4", where, fresh=True).is_relative_to(place / "4")


def test_a_changed_workload_file_is_another_artefact(place: Path, workload_text: str) -> None:
    def where(session: Session) -> Path:
        return session.baseline.folder

    files = [place / "files" / "here" / f"{name}.py" for name in "ab"]
    files[0].parent.mkdir(parents=True)
    files[0].write_text(workload_text)
    files[1].write_text(workload_text.replace("manual_seed(0)", "manual_seed(1)"))
    first, second = (session_about(file, place / file.stem, where) for file in files)
    assert first != second


def test_changed_weights_are_another_artefact_although_the_code_is_the_same(place: Path, workload_text: str) -> None:
    """The workload reads its weights from a file of its own, as trained models do."""
    folder = place / "files" / "here"
    folder.mkdir(parents=True)
    (folder / "w.py").write_text(
        workload_text.replace("    return Deep().eval()", "    return read(Deep()).eval()")
        + "\n\ndef read(model):\n    factor = float(__import__('pathlib').Path(__file__).with_name('weights').read_text())\n"
        "    with torch.no_grad():\n        model.head.weight.mul_(factor)\n    return model\n"
    )
    answers = []
    for number, factor in enumerate(("1.0", "2.0")):
        (folder / "weights").write_text(factor)
        strop.apply(Recipe(), folder / "w.py", out=place / str(number))
        from safetensors.torch import load_file

        answers.append(load_file(place / str(number) / "artefact" / "weights.safetensors")["head.weight"])
    assert torch.equal(answers[1], 2 * answers[0])


def test_changed_labels_to_train_from_are_another_artefact_although_the_code_is_the_same(place: Path, workload_text: str) -> None:
    """The workload reads them from a table of its own."""
    folder = place / "files" / "here"
    folder.mkdir(parents=True)
    (folder / "w.py").write_text(
        workload_text
        + "\n\ndef trained():\n    table = __import__('pathlib').Path(__file__).with_name('labels.csv').read_text()\n"
        "    labels = [int(label) for label in table.split(',')]\n"
        "    return workload(training=strop.Split(inputs=inputs(2, 9), labels=labels))\n"
    )
    found = []
    for number, labels in enumerate(("0,1", "0,1", "1,1")):
        (folder / "labels.csv").write_text(labels)
        found.append(session_about(f"{folder / 'w.py'}:trained", place / str(number), lambda session: session.baseline.folder))
    assert found[0] == found[1] != found[2]


def test_a_compiler_that_is_installed_later_makes_other_artefacts(tiny_workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what the engine inductor declined without one would stay declined."""
    there: dict[str, str] = {}
    monkeypatch.setattr("strop.api.run.shutil.which", there.get)
    monkeypatch.delenv("CXX", raising=False)
    materials: Any = SimpleNamespace(index={"data": "a digest"})

    def origin() -> dict[str, Any]:
        with refer(tiny_workload) as reference:
            return _origin(reference, materials, Host(cpu="a test CPU", cores=2), Request(), "cpu")

    def key() -> str:
        return artefact_key(Recipe([GraphCompile()]), origin())

    without = key()
    assert key() == without
    there["g++"] = there["clang++"] = "a folder of the path"
    found = key()
    assert found != without
    monkeypatch.setenv("CXX", "another")
    assert key() not in (without, found), "the one that CXX names is not there"


def test_code_that_trains_a_student_counts_as_code_that_artefacts_come_out_of() -> None:
    folders = {path.name for path in Path(strop.__file__).parent.iterdir() if (path / "__init__.py").exists()}
    imported = {
        name
        for file in (Path(strop.__file__).parent / "instructions" / "inference").glob("i*.py")
        for name in re.findall(r"from strop\.(\w+)", file.read_text(encoding="utf-8"))
    }
    assert "loop" in PREPARING
    assert (imported & folders) - set(PREPARING) <= {"measure"}, "the host and its traces decide through what is in the key"


def test_an_original_that_cannot_be_prepared_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.engines.eager.EagerEngine.decline", lambda *_: "planted")
    with pytest.raises(PrepareError, match="the original model cannot be prepared: planted"):
        session_about(live(), place / "run", lambda session: None)


def test_a_process_of_a_session_ends_with_it(tiny_workload: Path, place: Path) -> None:
    def start(session: Session) -> int:
        return session.original().arm.pid

    pid = session_about(tiny_workload, place / "run", start)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.fixture
def plugged(faulty_plugin: Path, python_path: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The faulty plug-in, installed for this process and its children."""
    monkeypatch.syspath_prepend(str(faulty_plugin))
    monkeypatch.setenv("PYTHONPATH", python_path(faulty_plugin))
    catalogue.all.cache_clear()
    yield
    monkeypatch.undo()
    catalogue.all.cache_clear()


EXPECTED = {
    "segfault": ("failed to run", "SIGSEGV"),
    "wrong": ("wrong", "away from the original's"),
    "hang": ("failed to run", "did not answer within 8 s"),
    "hog": ("failed to run", "RuntimeError"),
    "leave": ("failed to run", "left with exit code 0"),
    "complain": ("failed to run", "ValueError: planted"),
    "ragged": ("wrong", "has shape [7, 4], the original's has [8, 4]"),
    "nan": ("wrong", "holds NaN or infinity, the original's does not"),
}


@pytest.mark.slow
def test_every_way_to_misbehave_becomes_a_status_and_the_next_trial_goes_on(
    plugged: None, faults: dict[str, str], tiny_workload: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(EXPECTED) == set(faults)
    monkeypatch.setattr("strop.search.bench.LOAD_TIMEOUT", 8.0)
    names = list(EXPECTED)
    recipes = [catalogue.recipe_from_json({name: {}}) for name in names]

    def attempt(session: Session) -> dict[str, tuple[str, str]]:
        prepared = [one for i in range(0, len(recipes), 2) for one in session.prepare(recipes[i : i + 2])]
        assert {one.preparation.outcome for one in prepared} == {Outcome.PREPARED}, "it shows only when it is measured"
        found = {}
        for name, one in zip(names, prepared, strict=True):
            trial, seat = run_trial(session, one, session.original(), delta=0.02)
            assert seat is None
            found[name] = (trial.status, trial.row["reason"])
        assert session.original().arm.stats(), "the original's process lives on"
        return found

    for name, (status, reason) in session_about(tiny_workload, place / "run", attempt).items():
        assert status == EXPECTED[name][0], name
        assert EXPECTED[name][1] in reason, name
    assert len(list((place / "run" / "steps").iterdir())) == len(EXPECTED), "each is on record"


def test_a_recipe_whose_preparing_fails_says_why_and_leaves_the_others_alone(
    plugged: None, tiny_workload: Path, place: Path, python_path: Callable[[Path], str]
) -> None:
    """The original is prepared beside a recipe whose engine is not there."""

    def attempt(session: Session) -> list[Any]:
        (place / "hidden").mkdir()
        (place / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['openvino'] = None\n")
        os.environ["PYTHONPATH"] = python_path(place / "hidden")  # put back by the fixture that set it
        return session.prepare([Recipe(), catalogue.recipe_from_json({"model_serving_framework": {}})])

    original, lacking = session_about(tiny_workload, place / "run", attempt)
    assert original.ready
    assert lacking.preparation.outcome is Outcome.LACKS_DEPENDENCY
    assert "pip install 'strop[openvino]'" in lacking.preparation.reason
