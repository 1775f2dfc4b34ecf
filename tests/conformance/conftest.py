"""Running the suite: against any server by ``--url``, every client in a process and an environment of its own.

    pytest tests/conformance --url http://127.0.0.1:8080 --grpc 127.0.0.1:9000 --models identity

Without ``--url`` there is nothing to test but the suite itself (``test_the_suite.py``): the checks of servers are then taken
out of the collection, the summary says so, and asking for them alone ends with pytest's exit code 5, "nothing collected".
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = {
    "curl": (),
    "plain": (),
    "triton_http": ("tritonclient[http]==2.73.0",),
    "triton_grpc": ("tritonclient[grpc]==2.73.0", "requests"),
    "kserve_client": ("kserve==0.21.0",),
}
"""Client → what its environment needs; nothing: any Python."""

PATIENCE = 300
MISSING = pytest.StashKey[int]()


@dataclass(frozen=True)
class Said:
    """What a client found about one sentence of the protocol."""

    check: str
    says: str
    problem: str | None
    offered: bool


Ask = Callable[[str, str, str, str], dict[str, Said]]


def checks_of(client: str) -> list[str]:
    """Read the checks of a client, and their cases, without importing what it imports."""
    found = []
    for node in ast.parse((CLIENTS / f"{client}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
            marks = [d for d in node.decorator_list if isinstance(d, ast.Call)]
            names = [f"{node.name}[{ast.literal_eval(argument)}]" for mark in marks for argument in mark.args]
            found += names or [node.name]
    return found


def option(config: pytest.Config, name: str) -> str:
    """Return an option; where pytest was started above this folder it does not know them, and they are empty."""
    return str(config.getoption(name, default=""))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "Open Inference Protocol")
    group.addoption("--url", default="", help="HTTP address of the server to test, for instance http://127.0.0.1:8080")
    group.addoption("--grpc", default="", help="its gRPC port as host:port; without it gRPC is not tested")
    group.addoption("--models", default="identity", help="names of identity models on it, separated by commas")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if option(config, "--url"):
        return
    served = [item for item in items if item.path.parent == Path(__file__).parent and item.path.name == "test_conformance.py"]
    if served:
        config.stash[MISSING] = len(served)
        config.hook.pytest_deselected(items=served)
        items[:] = [item for item in items if item not in served]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count = config.stash.get(MISSING, 0)
    if count:
        terminalreporter.write_sep(
            "-", f"conformance: {count} checks need a server and did not run; name one with --url", yellow=True
        )


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Gives the Python of a client's own environment, which is made on first use and kept in the user's cache."""

    def find(client: str) -> str:
        packages = PACKAGES[client]
        if not packages:
            return sys.executable
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strop" / "clients"
        digest = hashlib.sha256(repr((packages, sys.version_info[:2])).encode()).hexdigest()[:12]
        place = base / f"{client}-{digest}"
        if not (place / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            subprocess.run(pip, check=True)
            (place / "ready").touch()
        return str(place / "bin" / "python")

    return find


@pytest.fixture(scope="session")
def ask(interpreter: Callable[[str], str]) -> Ask:
    """Runs all checks of a client against a server, once, in a process of its own."""
    known: dict[tuple[str, ...], dict[str, Said]] = {}

    def run(client: str, url: str, grpc: str, models: str) -> dict[str, Said]:
        key = (client, url, grpc, models)
        if key not in known:
            facts = json.dumps({"url": url, "grpc": grpc, "models": models.split(",")})
            command = [interpreter(client), str(CLIENTS / f"{client}.py"), facts]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode == 0, f"{client} could not run: {done.stderr.strip()[-2000:]}"
            rows = [Said(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
            known[key] = {row.check: row for row in rows}
        return known[key]

    return run
