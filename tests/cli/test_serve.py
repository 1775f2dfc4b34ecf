"""``strop serve``: a bundle behind a port until it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import strop

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]
ENGINE = "strop: 1\ninstructions: {engine: {}}\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_workload: Path) -> Path:
    """The tiny workload on an engine; its inputs all have eight rows."""
    folder = tmp_path_factory.mktemp("served") / "deep net"
    strop.apply(ENGINE, tiny_workload, out=folder)
    return folder


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "strop", "serve", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_it_listens_answers_and_ends_with_the_signal(bundle: Path) -> None:
    begun = time.monotonic()
    process = started(bundle, "--objective", "2s", "--port", 0, "--grpc-port", 0, "--admin-port", 0, "--json")
    try:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [event["name"] for event in events] == ["serve.unbatched", "serve.ready"]
        assert time.monotonic() - begun < 30
        host, _, port = events[1]["url"].removeprefix("http://").rpartition(":")
        assert (host, events[1]["model"]) == ("127.0.0.1", "deep-net")
        assert events[1]["grpc"].startswith("127.0.0.1:")
        assert set(events[1]["cold_start"]) == {"load", "listen"}
        connection = HTTPConnection(host, int(port), timeout=20)
        rows = {"name": "args_0", "shape": [8, 16], "datatype": "FP32", "data": [0.5] * 128}
        connection.request("POST", "/v2/models/deep-net/infer", json.dumps({"inputs": [rows]}))
        answer = connection.getresponse()
        row: Any = json.loads(answer.read())
        assert (answer.status, row["outputs"][0]["shape"]) == (200, [8, 4])
        damaged = next((bundle / "artefact").glob("*.xml"))
        whole = damaged.read_bytes()
        admin = HTTPConnection(host, int(events[1]["admin"].rpartition(":")[2]), timeout=20)
        for written, status in ((whole + b" ", 400), (whole, 200)):
            damaged.with_name("next").write_bytes(written)
            damaged.with_name("next").replace(damaged)
            admin.request("POST", "/v2/repository/models/deep-net/load")
            answer = admin.getresponse()
            row = json.loads(answer.read())
            assert (answer.status, str(bundle) in str(row)) == (status, False), row
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        with process:
            process.kill()
    assert (process.returncode, err) == (0, "")
    last = [json.loads(line) for line in out.splitlines()][-1]
    assert (last["name"], last["sent"], last["ok"]) == ("serve.ended", 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a bundle"),
        (["nowhere", "--objective", "soon"], "a duration was expected"),
        (["nowhere", "--name", "a/b"], "a model's name is made of"),
        (["nowhere", "--executors", "0"], "positive objective, executors and rows"),
        (
            ["nowhere", "--executors", "2", "--workers", "2"],
            "in threads or in processes; got executors=2 and workers=2. Give one.",
        ),
        (["nowhere", "--workers", "-1"], "workers are counted from 0"),
        (["nowhere", "--objectiv", "1s"], "--objective"),
    ],
)
def test_what_cannot_be_served_is_told(arguments: list[str], message: str, strop_cli: Cli) -> None:
    answer = strop_cli("serve", *arguments)
    assert answer.code in (1, 2)
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_the_command_s_name_is_guessed_and_help_shows_the_defaults(strop_cli: Cli) -> None:
    assert "Did you mean 'serve'?" in strop_cli("serv", "x").err
    text = strop_cli("serve", "--help").out
    for word in ("--objective", "100ms", "127.0.0.1", "8080", "9000", "8082", "--no-grpc", "429", "504"):
        assert word in text


def test_without_its_packages_the_command_to_install_them_is_told() -> None:
    hidden = "import sys; sys.modules['orjson'] = None; from strop.cli import main; sys.exit(main(['serve', 'bundle']))"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == "strop: strop serve needs packages that are not installed. Run: pip install 'strop[serve]'"
