from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import side_by_side
from benchmarks.serving.side_by_side import (
    GRID,
    RIVALS,
    SERVERS,
    STROP,
    Bench,
    Cell,
    Server,
    best,
    main_cells,
    oip,
    read_cell,
    table,
    tuning_cells,
)
from strop.errors import StropError

ONE, TWO = Server("one", "one.py", "/"), Server("two", "two.py", "/", {"batch": 4, "wait": 1})


def figures(goodput: float, **more: Any) -> dict[str, Any]:
    return {"goodput": goodput, "p50": 0.01, "p99": 0.02, "findings": [], **more}


def test_servers_take_turns_within_every_round_and_load() -> None:
    cells = main_cells([ONE, TWO], (0.5, 1.0), 3, seed=0)
    assert [(cell.round, cell.load) for cell in cells[::2]] == [(r, load) for r in range(3) for load in (0.5, 1.0)]
    assert all(
        {first.server.name, second.server.name} == {"one", "two"} for first, second in zip(cells[::2], cells[1::2], strict=True)
    )
    assert {cell.server.name for cell in cells[::2]} == {"one", "two"}
    assert cells == main_cells([ONE, TWO], (0.5, 1.0), 3, seed=0)
    assert len({cell.folder for cell in cells}) == len(cells)


def test_a_rival_is_tuned_over_at_most_twelve_settings_and_the_best_wins() -> None:
    cells = tuning_cells([ONE])
    assert len(cells) == len(GRID) <= 12
    results = {cell.folder: figures(0.1 * place) for place, cell in enumerate(cells)}
    results[cells[-1].folder] = {"lost": "the server did not start"}
    assert best(ONE, results).settings == GRID[-2]
    assert best(ONE, results).name == "one tuned"


def test_a_rival_that_gave_nothing_cannot_be_tuned() -> None:
    with pytest.raises(StropError, match="no setting of one gave a result"):
        best(ONE, {})


def test_lost_cells_are_shown() -> None:
    cells = main_cells([ONE, TWO], (0.8,), 3, seed=0)
    results: dict[str, dict[str, Any]] = {cell.folder: figures(0.5 + 0.1 * cell.round) for cell in cells}
    results[Cell(ONE, 0.8, 1).folder] = {"lost": "the server did not start"}
    for number in range(3):
        results[Cell(TWO, 0.8, number).folder] = {"lost": "not run"}
    _, first, second = table(cells, results)
    assert "60.0 %" in first and "50.0 …   70.0" in first and "1 of 3 lost: the server did not start" in first
    assert "lost" in second and "3 of 3 lost: not run" in second


def test_a_cell_that_is_there_is_not_measured_again_and_a_lost_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench({"rivals": sys.executable}, "identity", tmp_path, 1.0)
    row = {
        "goodput": {"estimate": 0.7}, "latency": [{"share": 0.5, "estimate": 0.01}], "findings": [{"code": "generator-late"}],
        "account": {"sent": 10, "ok": 7, "refused": 1, "expired": 0, "failed": 1, "cancelled": 0, "timeout": 0},
    }  # fmt: skip
    asked = []

    def measure(cell: Cell, folder: Path, seconds: float) -> str:
        asked.append(seconds)
        if len(asked) == 1:
            return "planted"
        folder.mkdir()
        (folder / "load.json").write_text(json.dumps({"rates": [row]}))
        return ""

    monkeypatch.setattr(bench, "_measure", measure)
    cell = Cell(ONE, 0.8, 0)
    assert bench.run(cell) == {"lost": "planted"}
    assert bench.run(cell, 0.5)["goodput"] == 0.7
    found = bench.run(cell)
    assert asked == [1.0, 0.5], "tuning may take other times"
    assert (found["p50"], found["p99"], found["unaccounted"], found["findings"]) == (0.01, None, 1, ["generator-late"])


def test_a_server_that_does_not_start_is_a_lost_cell(tmp_path: Path) -> None:
    bench = Bench({"rivals": sys.executable}, "identity", tmp_path, 1.0)
    assert bench.run(Cell(Server("absent", "absent.py", "/"), 0.8, 0)) == {"lost": "the server did not start"}
    assert read_cell(tmp_path / "cells" / "nothing") == {"lost": "not run"}


def test_the_known_model_is_the_one_the_rivals_serve() -> None:
    text = (SERVERS / "models.py").read_text()
    found = re.search(r"ALPHA, BETA = ([\d.]+), ([\d.]+)", text)
    assert found is not None
    assert (float(found[1]), float(found[2])) == (side_by_side.ALPHA, side_by_side.BETA)
    assert side_by_side.CAPACITY["sleep"] == pytest.approx(300.0)
    assert f'BUNDLE = "{side_by_side.BUNDLE}"' in text
    assert all((SERVERS / server.script).exists() for server in (STROP, *RIVALS.values()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--servers", "mosec,tritonn"], "no such rivals: tritonn; choose of mosec, litserve, ray, mlserver"),
        (["--servers", "mlserver", "--bundle", "any"], "MLServer batches tensors of one shape only"),
    ],
)
def test_rivals_that_cannot_be_compared_are_told_before_anything_runs(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", "--out", str(tmp_path / "out"), *words])
    with pytest.raises(SystemExit):
        side_by_side.main()
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_request_says_the_same_in_the_protocol() -> None:
    assert oip({"input_ids": [101, 102], "x": [0.5]}) == {
        "inputs": [
            {"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [101, 102]},
            {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0.5]},
        ]
    }


def test_strop_itself_is_started_in_this_environment_and_answers(tmp_path: Path) -> None:
    found = Bench({"here": sys.executable}, "identity", tmp_path, 1.0).run(Cell(STROP, 0.1, 0))
    assert found["unaccounted"] == 0 and found["account"]["ok"] == found["account"]["sent"] > 0
