"""A run directory: one writer, finished steps kept, damage named."""

from pathlib import Path

import pytest

from strop.errors import LedgerError, RunDirectoryError
from strop.ledger.files import write_json
from strop.ledger.ledger import Ledger, read_pairs, read_steps


def test_a_finished_step_is_never_computed_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, tuple[int, ...]]:
        calls.append(1)
        return {"value": (1, 2)}

    with Ledger.create(tmp_path / "run", {"a": 1}) as ledger:
        first = ledger.step("trial/one", compute)
        assert ledger.step("trial/one", compute) == first == {"value": [1, 2]}, "as it comes back from the disk"
    with Ledger.resume(tmp_path / "run") as again:
        assert again.step("trial/one", compute) == first
        assert again.done("trial/one")
        assert not again.done("trial/two")
        assert again.elapsed >= again.seconds("trial/one")
    assert len(calls) == 1


def test_two_runs_cannot_share_a_directory(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "run", {}) as ledger:
        with pytest.raises(RunDirectoryError, match="being written by another run"):
            Ledger.resume(tmp_path / "run")
        with pytest.raises(RunDirectoryError, match="being written by another run"):
            Ledger.create(tmp_path / "run", {})
        ledger.step("one", lambda: 1)
    with pytest.raises(RunDirectoryError, match="already holds a run; continue it with --resume"):
        Ledger.create(tmp_path / "run", {})


def test_files_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunDirectoryError, match="already holds files"):
        Ledger.create(tmp_path, {})
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def begin(folder: Path) -> None:
    """A run that ends before its first step."""
    with Ledger.create(folder, {"asked": "first"}) as ledger:
        write_json(folder / "env.json", {})
        write_json(folder / "materials" / "materials.json", {"points": ["old"]})
        assert not ledger.done("one")


def test_a_run_that_found_nothing_out_is_begun_anew_in_its_place(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    with Ledger.create(tmp_path / "run", {"asked": "second"}) as ledger:
        assert ledger.plan["asked"] == "second"
        assert {path.name for path in ledger.folder.iterdir()} == {".lock", "plan.json"}
        with pytest.raises(RunDirectoryError, match="being written by another run"):
            Ledger.create(tmp_path / "run", {"asked": "third"})


def test_what_the_user_put_beside_it_keeps_it_from_being_removed(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        Ledger.create(tmp_path / "run", {})
    assert (tmp_path / "run" / "materials" / "materials.json").exists()


@pytest.mark.parametrize("text", ['{"my": "plan"}', "[1]", '["format"]', '"format"', "7", "not JSON"])
def test_somebody_elses_plan_is_no_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RunDirectoryError, match="already holds files; choose an empty or new --out"):
        Ledger.create(tmp_path, {})
    assert (tmp_path / "plan.json").read_text() == text


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="start it without --resume"):
        Ledger.resume(tmp_path / "none")


def test_a_damaged_step_is_named(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "run", {}) as ledger:
        ledger.step("one", lambda: 1)
    (path,) = (tmp_path / "run" / "steps").iterdir()
    path.write_text("[]")
    with pytest.raises(LedgerError, match=path.name):
        read_steps(tmp_path / "run")


def test_unreadable_samples_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"index": 0}\n')
    with pytest.raises(LedgerError, match=r"x\.jsonl does not hold readable pairs"):
        read_pairs(path)


def test_paths_with_spaces_and_chinese_characters_work(tmp_path: Path) -> None:
    folder = tmp_path / "运行 一"
    with Ledger.create(folder, {}) as ledger:
        ledger.step("步骤 one", lambda: "结果")
    assert read_steps(folder)[0]["result"] == "结果"


def test_time_before_the_directory_was_opened_counts(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "run", {}) as ledger:
        ledger.count(100.0)
        ledger.step("one", lambda: 1)
    with Ledger.resume(tmp_path / "run") as again:
        assert 100 <= again.elapsed < 110


def test_a_step_within_a_step_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("strop.ledger.ledger.time.monotonic", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    with Ledger.create(tmp_path / "run", {}) as ledger:

        def outer() -> None:
            pass_time(1)
            ledger.step("inner/one", lambda: pass_time(10))
            ledger.step("inner/two", lambda: ledger.step("innermost", lambda: pass_time(100)))
            ledger.step("inner/one", lambda: pass_time(1000))

        ledger.step("outer", outer)
        keys = ("outer", "inner/one", "inner/two", "innermost")
        assert [ledger.seconds(key) for key in keys] == [1, 10, 0, 100] and ledger.elapsed == 111
