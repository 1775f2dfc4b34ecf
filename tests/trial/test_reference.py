"""Getting at the user's workload: what cannot be loaded is told in words, what it is made of is digested."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strop.errors import WorkloadError
from strop.trial.reference import Reference, parse_reference

NO_WORKLOAD = [
    ("", "holds no workload; define a function workload() that returns a strop.InferenceWorkload, or name another one"),
    ("def worklod(): ...", "holds no workload; define a function workload()"),
    ("def workload(): return None", "workload in {file} gave a NoneType; a strop.InferenceWorkload was expected"),
    ("import torch\nworkload = torch.nn.ReLU()", "failed: TypeError"),
    ("workload = 3", "workload in {file} gave a int; a strop.InferenceWorkload was expected"),
    ("{mlp}\nworkload = {{'a': workload()}}", "workload in {file} gave a dict; a strop.InferenceWorkload was expected"),
    ("{mlp}\na, b = workload(), workload()\ndel workload", "holds 2 workloads (a, b); name one: 工作 load.py:NAME"),
    ("raise KeyError('a part')", "{file} failed while being imported: KeyError: 'a part'"),
    ("def workload(:", "{file} failed while being imported: SyntaxError"),
    ("import no_such_neighbour", "failed while being imported: ModuleNotFoundError: No module named 'no_such_neighbour'"),
    ("import sys\nsys.exit(3)", "{file} failed while being imported: SystemExit: 3"),
    ("def workload(): raise RuntimeError('no data here')", "workload() in {file} failed: RuntimeError: no data here"),
    ("def workload(): raise SystemExit('read the manual')", "workload() in {file} failed: SystemExit: read the manual"),
]

DATA = """
import strop
def workload():
    return strop.InferenceWorkload(model=lambda: None, inputs={inputs})
"""


@pytest.mark.parametrize(("text", "words"), NO_WORKLOAD)
def test_a_file_that_gives_no_workload_says_why(text: str, words: str, place: Any, kit: SimpleNamespace) -> None:
    text = text.format(mlp=kit.MLP) if "{mlp}" in text else text
    with pytest.raises(WorkloadError) as caught:
        place.refer(text).load()
    assert words.format(file=place.folder / "工作 load.py") in str(caught.value)


def test_a_workload_that_refuses_in_its_own_words_is_quoted_as_it_is(place: Any) -> None:
    with pytest.raises(WorkloadError, match=r"^inputs must hold at least one operating point"):
        place.refer(DATA.format(inputs="{}")).load()


@pytest.mark.parametrize(
    ("present", "asked", "words"),
    [
        ("workload.py", "worklaod.py", "there is no workload file {path}. Did you mean 'workload.py'?"),
        ("workload.py", "workload", "there is no workload file {path}. Did you mean 'workload.py'?"),
        ("workload.py", "字.py", "there is no workload file {path}. Known: workload.py."),
        ("notes.txt", "workload.py", "there is no workload file {path}."),
        ("notes.txt", "no folder/workload.py", "there is no workload file {path}."),
        ("workload.py", "", "{path} is not a Python file; a workload is a .py file"),
        ("notes.txt", "notes.txt", "{path} is not a Python file; a workload is a .py file"),
    ],
)
def test_a_missing_file_is_told_with_the_nearest_name(present: str, asked: str, words: str, place: Any) -> None:
    place.write("", present)
    path = place.folder / asked
    with pytest.raises(WorkloadError) as caught:
        parse_reference(str(path)).load()
    assert str(caught.value).startswith(words.format(path=path))
    assert "Known: ." not in str(caught.value)


def test_a_function_can_be_named_and_a_wrong_name_gets_the_nearest(place: Any, kit: SimpleNamespace) -> None:
    text = kit.MLP.replace("def workload", "def english_texts")
    assert place.refer(text, function="english_texts").load().name == "two layers"
    path = str(place.folder / "工作 load")
    assert parse_reference(path + ".py:english_texts").load().name == "two layers"
    with pytest.raises(WorkloadError, match=r"工作 load\.py has no 'english_text'\. Did you mean 'english_texts'\?"):
        place.refer(text, function="english_text").load()


def test_a_single_workload_in_the_file_needs_no_name(place: Any, kit: SimpleNamespace) -> None:
    assert place.refer(kit.MLP + "\nonly = workload()\ndel workload\n").load().name == "two layers"


def test_arguments_are_read_into_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = str(tmp_path / "w.py")
    assert parse_reference("w.py") == Reference(kind="file", value=where)
    assert parse_reference("w.py:f") == Reference(kind="file", value=where + ":f")
    hub = parse_reference("hf:someone/model", task="text-classification", data="", text="", label="stars")
    assert hub == Reference(kind="hf", value="someone/model", options={"task": "text-classification", "label": "stars"})
    assert [Reference(kind=kind, value="").replayable for kind in ("file", "hf", "live")] == [True, True, False]


def test_options_of_hub_workloads_are_not_silently_left_out_for_a_file() -> None:
    with pytest.raises(WorkloadError, match=r"data, task can be given for hf: workloads only; w\.py is a file"):
        parse_reference("w.py", task="text-classification", data="d.csv", label="")


def test_a_model_folder_and_its_data_are_found_again_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "模型 a").mkdir()
    (tmp_path / "d.csv").write_text("text,label\n")
    monkeypatch.chdir(tmp_path)
    found = parse_reference("hf:模型 a", data="d.csv")
    assert (found.value, found.options["data"]) == (str(tmp_path / "模型 a"), str(tmp_path / "d.csv"))


PARTS = ("workload.py", "neighbour_of_trial.py", "pack_of_trial/inner.py", "../shared_of_trial.py")
LOCAL = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[1]))
import neighbour_of_trial, shared_of_trial
from pack_of_trial import inner
"""


@pytest.mark.parametrize("changed", [*PARTS, "never_imported.py"])
def test_the_digest_covers_the_file_and_what_it_imports_from_around_it(changed: str, place: Any, kit: SimpleNamespace) -> None:
    for name in (*PARTS[1:], "pack_of_trial/__init__.py", "never_imported.py"):
        place.write("value = 1\n", f"inside/{name}")
    reference = place.refer(LOCAL + kit.MLP, "inside/workload.py")
    reference.load()
    before = reference.digest()
    assert reference.digest() == before
    path = place.folder / "inside" / changed
    path.write_text(path.read_text(encoding="utf-8") + "# another word\n", encoding="utf-8")
    assert (reference.digest() != before) == (changed in PARTS)


def test_a_file_named_with_or_without_its_function_is_made_of_the_same(place: Any, kit: SimpleNamespace) -> None:
    assert place.refer(kit.MLP).digest() == place.refer(kit.MLP, function="workload").digest()


def test_two_functions_of_one_file_are_not_made_of_the_same(place: Any, kit: SimpleNamespace) -> None:
    assert place.refer(kit.MLP, function="workload").digest() != place.refer(kit.MLP, function="other").digest()


def test_an_edited_file_is_loaded_anew_in_the_same_process(place: Any, kit: SimpleNamespace) -> None:
    assert place.refer(kit.MLP).load().name == "two layers"
    assert place.refer(kit.MLP.replace("two layers", "edited")).load().name == "edited"


def test_a_file_that_failed_is_tried_again_when_what_it_lacked_is_there(place: Any, kit: SimpleNamespace) -> None:
    reference = place.refer("import lacking_at_first\n" + kit.MLP)
    with pytest.raises(WorkloadError, match="No module named 'lacking_at_first'"):
        reference.load()
    place.write("", "lacking_at_first.py")
    importlib.invalidate_caches()  # two writes within a tick of the file system's clock look like one
    assert reference.load().name == "two layers"


def test_digests_of_hub_references_cover_options_and_what_the_folder_holds(tmp_path: Path) -> None:
    folder = tmp_path / "模型"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = parse_reference(f"hf:{folder}", task="text-classification")
    digests = {first.digest(), parse_reference(f"hf:{folder}", task="text-classification", label="stars").digest()}
    (folder / "config.json").write_text("{ }")
    digests.add(first.digest())
    digests.add(parse_reference("hf:someone/else", task="text-classification").digest())
    assert len(digests) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


TRAINING = """
import torch
import strop
from strop.testing.models import sentences_workload
def workload():
    return sentences_workload()
"""


def test_a_training_workload_is_loaded_as_one_and_each_kind_names_its_command(place: Any, kit: SimpleNamespace) -> None:
    training, inference = place.refer(TRAINING), kit
    assert type(training.load_training()).__name__ == "TrainingWorkload"
    assert type(training.load_any()).__name__ == "TrainingWorkload"
    with pytest.raises(WorkloadError, match=r"a strop\.InferenceWorkload was expected\. It is for: strop train"):
        training.load()
    with pytest.raises(WorkloadError, match=r"a strop\.TrainingWorkload was expected\. It is for: strop optimize"):
        place.refer(f"{inference.MLP}\n").load_training()
    with pytest.raises(WorkloadError, match="says nothing about loss and optimizer"):
        parse_reference("hf:some/model").load_training()
    assert type(place.refer(f"{inference.MLP}\n").load_any()).__name__ == "InferenceWorkload"
    with pytest.raises(
        WorkloadError, match=r"a strop\.InferenceWorkload, strop\.TrainingWorkload or strop\.ServingWorkload was expected"
    ):
        place.refer("def workload():\n    return 3\n").load_any()
