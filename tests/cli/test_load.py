from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.load.scripted_server import ScriptedServer, slow, statuses

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]
SHORT = ("--rate", "50/s", "--seconds", "300ms", "--arrivals", "uniform")


def test_a_load_is_told_as_tables(strop_cli: Cli, tmp_path: Path) -> None:
    with ScriptedServer(statuses(200, 200, 429), models=["echo"]) as server:
        answer = strop_cli("load", server.url, *SHORT, "--rate", "100/s", "--objective", "1s", "--out", tmp_path / "out")
    assert answer.code == 0
    assert "Latency and goodput" in answer.out
    assert "429: 5, 200: 10" in " ".join(answer.out.split()) or "200: 10, 429: 5" in " ".join(answer.out.split())
    assert str(tmp_path / "out" / "report.html") in answer.out.replace("\n", "")
    assert answer.err == ""


def test_json_is_one_value(strop_cli: Cli, json_value: Callable[[str], dict]) -> None:  # type: ignore[type-arg]
    with ScriptedServer(models=["echo"]) as server:
        answer = strop_cli("load", server.url, *SHORT, "--json")
    assert json_value(answer.out)["rates"][0]["account"]["ok"] == 15
    assert answer.err == ""


def test_a_server_that_answers_nothing_is_a_failure(strop_cli: Cli) -> None:
    async def once(number: int):  # type: ignore[no-untyped-def]
        return await statuses(200 if number == 0 else 500)(0)

    with ScriptedServer(once, models=["echo"]) as server:
        answer = strop_cli("load", server.url, *SHORT)
    assert answer.code == 1
    assert "500: 15" in " ".join(answer.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rte", "5/s"], "--rate"),
        (["--rate", "fast"], "a rate was expected, for instance 200/s"),
        (["--seconds", "soon"], "a duration was expected"),
        (["--arrivals", "posson"], "Did you mean 'poisson'"),
        (["--length", "9-3"], "for instance 128 or 8-128"),
        (["--length", "long"], "for instance 128 or 8-128"),
        (["--batch", "0"], "0 is not in the range"),
        (["--input", "missing.json"], "cannot be read from missing.json"),
        (["--model", "ecco"], "no model 'ecco'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_line_is_refused_in_words_before_the_load(arguments: list[str], message: str, strop_cli: Cli) -> None:
    with ScriptedServer(models=["echo"]) as server:
        answer = strop_cli("load", server.url, *arguments)
        assert server.bodies == []
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_nobody_listening_is_a_usage_error(strop_cli: Cli) -> None:
    answer = strop_cli("load", "http://127.0.0.1:9", "--seconds", "1s")
    assert answer.code == 2
    assert "Is the server running" in answer.err


def test_ctrl_c_shows_what_was_measured_and_ends_with_130() -> None:
    with ScriptedServer(slow(0.01), models=["echo"]) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "strop", "load", server.url, "--rate", "100/s", "--seconds", "60s"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        limit = time.monotonic() + 30
        while len(server.bodies) < 50 and time.monotonic() < limit:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "(interrupted)" in out and "never sent" in out
    assert "Traceback" not in err


def test_progress_is_one_line_on_a_terminal_and_nothing_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from strop.cli.load import _watch
    from strop.load.samples import Outcome

    counts = {Outcome.OK: 5, Outcome.REFUSED: 1, Outcome.UNSENT: -6}
    _watch(False)(200.0, 3.2, counts)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _watch(False)(200.0, 3.2, counts)
    assert capsys.readouterr().err == "\r\x1b[K200/s · 3 s · 5 ok · 1 refused"
    _watch(True)(200.0, 3.2, counts)
    assert capsys.readouterr().err == ""


def test_json_output_can_be_read_back(strop_cli: Cli, tmp_path: Path) -> None:
    with ScriptedServer(models=["echo"]) as server:
        printed = json.loads(strop_cli("load", server.url, *SHORT, "--json", "--out", tmp_path / "out").out)
    written = json.loads((tmp_path / "out" / "load.json").read_text())
    assert {name: value for name, value in written.items() if name != "started"} == printed
