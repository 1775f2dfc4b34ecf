"""``strop serve`` by the whole suite: every client over HTTP and gRPC, every datatype that signatures have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import strop
from tests.conformance.conftest import PACKAGES

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask

WORKLOADS = Path(__file__).parent / "servers" / "identity.py"
NOT_HELD = ("BF16", "BYTES")
"""Datatypes that signatures do not have."""
ABSENT = {
    *(f"no model under test has an input of datatype {datatype}" for datatype in NOT_HELD),
    "the server does not list the extension statistics",
    "this client has no JSON form of 16-bit floats",
}
"""Why a check may not have been offered by the model of every datatype."""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Serves an identity workload; gives its HTTP and gRPC addresses."""
    running: dict[str, tuple[subprocess.Popen[str], str, str]] = {}

    def start(function: str) -> tuple[str, str]:
        if function not in running:
            workload = f"{WORKLOADS}:{function}"
            folder = tmp_path_factory.mktemp("identity") / function
            strop.apply(WORKLOADS.with_suffix(".yaml").read_text(encoding="utf-8"), workload, out=folder)
            command = [sys.executable, "-m", "strop", "serve", str(folder), "--workload", workload, "--objective", "5s", "--json"]
            ports = ["--port", "0", "--grpc-port", "0", "--admin-port", "0"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, text=True, env=environment)
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            running[function] = process, ready["url"], ready["grpc"]
        return running[function][1:]

    yield start
    for process, _, _ in running.values():
        with process:
            process.terminate()
            assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("function", "client"),
    [
        *(pytest.param("many", client, marks=[pytest.mark.slow] if PACKAGES[client] else []) for client in PACKAGES),
        pytest.param("workload", "kserve_client", marks=[pytest.mark.slow]),
    ],
)
def test_every_check_that_is_offered_holds(function: str, client: str, serve: Callable[[str], tuple[str, str]], ask: Ask) -> None:
    said = ask(client, *serve(function), function)
    assert {name: row.problem for name, row in said.items() if row.problem and row.offered} == {}
    missing = {row.problem for row in said.values() if not row.offered}
    assert missing <= ABSENT or (function, client) == ("many", "kserve_client"), "its check has arrays of few datatypes"
