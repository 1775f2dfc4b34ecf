from __future__ import annotations

import json
from pathlib import Path

import pytest

from strop.api.load import load
from strop.errors import RunDirectoryError, UsageError
from strop.load.samples import Samples
from strop.load.summary import summarize
from tests.load.scripted_server import ScriptedServer, slow, statuses


def test_the_summary_on_disk_follows_from_the_samples_on_disk(tmp_path: Path) -> None:
    out = tmp_path / "load"
    with ScriptedServer(slow(0.005), models=["echo"]) as server:
        load(server.url, rates=["100/s", 200], seconds="500ms", arrivals="uniform", objective="50ms", out=out)
    assert {path.name for path in out.iterdir()} == {"load.json", "report.html", "samples-100.npz", "samples-200.npz"}
    written = json.loads((out / "load.json").read_text())
    for row, rate in zip(written["rates"], (100, 200), strict=True):
        samples = Samples.open(out / f"samples-{rate}.npz")
        again = summarize(samples, rate=rate, seconds=0.5, objective=0.05, processor=row["processor"])
        assert json.loads(json.dumps(again.to_json())) == row
        assert row["account"]["ok"] == rate / 2


def test_what_was_asked_for_is_on_record(tmp_path: Path) -> None:
    with ScriptedServer(models=["echo"]) as server:
        load(server.url, rates=50, seconds=0.2, out=tmp_path / "load", seed=3, timeout="2s", warmup=None)
    plan = json.loads((tmp_path / "load" / "load.json").read_text())["plan"]
    assert (plan["rates"], plan["seconds"], plan["seed"], plan["timeout"], plan["warmup"]) == ([50.0], 0.2, 3, 2.0, 0.0)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with ScriptedServer(models=["echo"]) as server:
        with pytest.raises(RunDirectoryError, match="holds something already"):
            load(server.url, seconds=0.2, out=tmp_path)
        assert server.bodies == []


@pytest.mark.parametrize("rates", [[], ["100/s", 100], "fast", "0/s", "-5"])
def test_rates_that_say_nothing_are_refused(rates: object) -> None:
    with pytest.raises(UsageError, match="rate"):
        load("http://127.0.0.1:9", rates=rates)  # type: ignore[arg-type]


def test_a_load_in_which_nothing_is_answered_still_has_its_account() -> None:
    async def once(number: int):  # type: ignore[no-untyped-def]
        return await statuses(200 if number == 0 else 503)(0)

    with ScriptedServer(once, models=["echo"]) as server:
        summary = load(server.url, rates=50, seconds=0.2, arrivals="uniform", objective="1s").runs[0].summary
    assert summary.account["refused"] == 10
    assert summary.latency == ()
    assert summary.goodput is not None and summary.goodput.estimate == 0.0
