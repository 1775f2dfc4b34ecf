"""A suite is worth what it finds: an honest server passes every check, and each planted fault is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.conftest import CLIENTS, PACKAGES, checks_of
from tests.conformance.reference import FAULTS, Reference

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def honest() -> Iterator[str]:
    with Reference() as server:
        yield server.url


@pytest.mark.parametrize(
    "client",
    [pytest.param(name, marks=[pytest.mark.slow] if PACKAGES[name] else []) for name in PACKAGES if name != "triton_grpc"],
)
def test_an_honest_server_passes_every_check(client: str, honest: str, ask: Ask) -> None:
    said = ask(client, honest, "", "identity,many")
    assert {name: row.problem for name, row in said.items() if row.problem and row.offered} == {}
    missing = {row.problem for row in said.values() if not row.offered}
    assert missing <= {"no gRPC port was named", "the server does not list the extension statistics"}


@pytest.mark.parametrize("client", PACKAGES)
def test_every_check_is_announced_and_says_which_sentence_it_tests(client: str) -> None:
    names = checks_of(client)
    assert len(names) == len(set(names)) > 5
    source = (CLIENTS / f"{client}.py").read_text(encoding="utf-8")
    places = ("REST", "gRPC", "RFC", "KServe required_api", "Triton protocol README", "Binary extension", "Statistics extension")
    for block in source.split("\ndef check_")[1:]:
        assert block.split('"""')[1].startswith(places), block[:60]


def test_what_is_announced_is_what_runs(honest: str, ask: Ask) -> None:
    for client in ("plain", "curl"):
        assert list(ask(client, honest, "", "identity,many")) == checks_of(client)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, ask: Ask) -> None:
    with Reference(fault) as server:
        said = ask("plain", server.url, "", "identity,many")
    assert said[FAULTS[fault]].problem is not None
    assert said[FAULTS[fault]].offered


def test_without_a_server_its_checks_are_not_counted_as_passed() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance/test_conformance.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "checks need a server and did not run; name one with --url" in done.stdout
