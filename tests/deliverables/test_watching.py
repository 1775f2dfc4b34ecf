"""A real Prometheus scrapes a running server: the target is up, figures arrive, rules hold, and every panel finds data."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from strop.api.dashboard import export_dashboard
from strop.serve.server import free_port
from tests.deliverables.conftest import Promtool
from tests.serve.test_server import Server

SENT = 25


class Watching:
    """A server under the eyes of Prometheus."""

    def __init__(self, server: Server, address: str, folder: Path) -> None:
        self.server, self.address, self.folder = server, address, folder

    def read(self, path: str) -> Any:
        with urlopen(f"http://{self.address}/api/v1/{path}", timeout=10) as answer:
            row = json.loads(answer.read())
        assert row["status"] == "success", row
        return row["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.read(f"query?query={quote(expression)}")["result"]

    def wait(self, expression: str, value: float | None = None) -> list[dict[str, Any]]:
        """Ask until there is an answer, or the one expected."""
        end = time.monotonic() + 30
        found: list[dict[str, Any]] = []
        while time.monotonic() < end:
            found = self.query(expression)
            if found and (value is None or float(found[0]["value"][1]) == value):
                return found
            time.sleep(0.2)
        raise AssertionError(f"{expression} never became {value}; it was {found}")


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory, prometheus_folder: Path) -> Iterator[Watching]:
    folder = tmp_path_factory.mktemp("prometheus")
    server = Server(0.01, {})
    export_dashboard(folder, target=f"127.0.0.1:{server.admin}", scrape_interval=1)
    address = f"127.0.0.1:{free_port('127.0.0.1', 0)}"
    command = [
        str(prometheus_folder / "prometheus"), f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}", "--log.level=error",
    ]  # fmt: skip
    watched = Watching(server, address, folder)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and process.poll() is None:
                try:
                    watched.query("1")
                    break
                except OSError:
                    time.sleep(0.1)
            assert process.poll() is None, (folder / "log").read_text()
            watched.wait("up", 1)
            assert all(server.good(float(value)) for value in range(SENT))
            watched.wait('strop_requests_total{outcome="ok"}', SENT)
            yield watched
        finally:
            process.terminate()
            process.wait(20)
            server.process.kill()
            server.process.wait()


def test_the_target_is_up_and_its_requests_are_counted(watching: Watching) -> None:
    (target,) = watching.read("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    (sent,) = watching.query("strop_requests_sent_total")
    assert float(sent["value"][1]) == SENT
    assert sent["metric"] | {"instance": ""} == {
        "__name__": "strop_requests_sent_total", "job": "strop", "model": "double", "instance": "",
    }  # fmt: skip


def test_every_rule_is_evaluated_and_the_latency_has_a_series_of_its_own(watching: Watching) -> None:
    (row,) = watching.wait('inference_latency_seconds{model="double"} > 0.005')
    assert float(row["value"][1]) < 0.5
    rules = [rule for group in watching.read("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    firing = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"}
    assert firing == set()


def test_every_panel_s_expression_is_valid_and_finds_data(watching: Watching) -> None:
    board = json.loads((watching.folder / "dashboard.json").read_text())
    watching.wait("strop:utilization:ratio5m")
    empty = []
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$model", ".*").replace("$instance", ".*")
            if not watching.query(expression):
                empty.append(target["expr"])
    assert empty and all(expression.startswith("DCGM_FI_") for expression in empty), "what needs another exporter is empty"


def test_every_metric_that_is_named_anywhere_is_exported_or_recorded(watching: Watching) -> None:
    known = set(watching.read("label/__name__/values"))
    text = "".join((watching.folder / name).read_text() for name in ("dashboard.json", "rules.yml"))
    named = set(re.findall(r"\b(?:strop|process|inference)[_:]\w[\w:]*\b", text)) - {"strop_serve"}
    assert len(named) > 30
    assert {name for name in named if name not in known and not name.endswith("ratio1h")} == set()


def test_the_names_and_units_of_the_metrics_pass_prometheus_own_lint(watching: Watching, promtool: Promtool) -> None:
    text = watching.server.ask("GET", "/metrics", admin=True)[1].decode()
    done = promtool("check", "metrics", given=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    spoiled = promtool("check", "metrics", given="# TYPE strop_bad counter\nstrop_bad 1\n")
    assert spoiled.returncode != 0, "the lint can fail"


def test_a_server_that_is_gone_is_told(watching: Watching) -> None:
    watching.server.process.kill()
    watching.wait("up", 0)
    end = time.monotonic() + 10
    states: set[str] = set()
    while time.monotonic() < end and "pending" not in states:
        rules = [rule for group in watching.read("rules")["groups"] for rule in group["rules"]]
        states = {rule["state"] for rule in rules if rule["name"] == "ServerDown"}
        time.sleep(0.2)
    assert states == {"pending"}, "it fires after a minute"
