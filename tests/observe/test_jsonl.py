import json
from pathlib import Path

import pytest

from strop.observe import Event, JsonlSink, Level


def test_each_event_is_one_line_that_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "运行 events.jsonl"
    sink = JsonlSink(path)
    sink(Event("trial.judged", "kept\nover two lines", Level.RESULT, {"row": {"id": "t01"}, "名": "×2"}, at=12.5))
    first = path.read_text(encoding="utf-8")
    assert first.count("\n") == 1
    assert "名" in first
    sink(Event("run.finished"))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {
        "at": 12.5,
        "name": "trial.judged",
        "level": "result",
        "text": "kept\nover two lines",
        "row": {"id": "t01"},
        "名": "×2",
    }
    assert rows[1]["name"] == "run.finished"


def test_what_has_no_json_form_is_written_as_text(tmp_path: Path) -> None:
    JsonlSink(tmp_path / "e.jsonl")(Event("a", data={"where": Path("x")}))
    assert json.loads((tmp_path / "e.jsonl").read_text())["where"] == "x"


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    for name in ("before", "after an interrupt"):
        JsonlSink(tmp_path / "e.jsonl")(Event(name))
    assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 2


def test_a_missing_folder_is_an_error_not_a_silence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JsonlSink(tmp_path / "no" / "e.jsonl")(Event("a"))
