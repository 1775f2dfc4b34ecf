"""Deliverable 51: dashboard, alert rules and what they need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from strop.bundle import read_manifest
from strop.bundle.name import model_name
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Bundle, Deliverable
from strop.deliverables.grafana import dashboard
from strop.deliverables.rule_tests import rule_tests
from strop.deliverables.rules import Watch, rule_file, scrape_file
from strop.units import show_seconds

LONGEST_SCRAPE = 30
"""Seconds: a rate over one minute needs two scrapes in it."""

LEAST_IN_TIME = 0.95
"""Below it, spending the error budget 14 times too fast is not possible, and the alert on it would never fire."""


@final
@dataclass(frozen=True, kw_only=True)
class PerformanceDashboard(Deliverable):
    """Watch a served model: Grafana dashboard, Prometheus rules with alerts, and tests of the rules.

    What it does:
        Writes ``dashboard.json`` for Grafana, ``rules.yml`` with recording and alert rules for Prometheus,
        ``rules_test.yml`` with planted series on which ``promtool test rules`` proves that each alert fires and stays
        quiet when it should, and ``prometheus.yml``, a configuration that scrapes one server. With a bundle everything is
        about its model, without one about every model that is scraped. ``strop serve`` itself shows a live page at its
        admin port and exports the metrics; nothing has to be installed into the model.

    Why it helps:
        A latency that creeps up, a backlog, an executor that hangs or capacity that nobody uses is told by an alert
        before users tell it. The same metrics say which instruction treats it.

    When it does not:
        Short runs by hand: the live page is enough. Figures of an accelerator need NVIDIA's own exporter beside it. The
        admin port answers on the server's own machine only, so Prometheus must run there or reach it through a tunnel.

    Settings:
        model: name of the model as it is served; empty names it after the bundle's folder (name).
        target: admin address that Prometheus scrapes (host:port).
        scrape_interval: time between two scrapes, at most 30 (s).
        latency: 99th percentile above which ``HighInferenceLatency`` fires after five minutes (s).
        utilization: share of the executors' time below which ``LowUtilization`` fires (ratio).
        backlog: waiting requests from which on ``HighBacklog`` fires (count).
        in_time: share of requests to be answered within the objective, at least 0.95 (ratio).

    References:
        Prometheus documentation, Recording rules, Alerting rules, Unit testing for rules.
        Beyer et al., The Site Reliability Workbook, 2018, chapter 5 (alerting on an error budget).
    """

    card = Card(aims=frozenset({Aim.LATENCY, Aim.GOODPUT}), fidelity=Fidelity.EXACT, aliases=("dashboard",))

    model: str = ""
    target: str = "127.0.0.1:8082"
    scrape_interval: int = 15
    latency: float = 0.5
    utilization: float = 0.7
    backlog: int = 10
    in_time: float = 0.99

    def __post_init__(self) -> None:
        if self.model:
            model_name(Path(), self.model)
        if not re.fullmatch(r"[A-Za-z0-9._\-\[\]:]+:\d{1,5}", self.target):
            raise ValueError(f"target is an address such as 127.0.0.1:8082, got {self.target!r}")
        if not 1 <= self.scrape_interval <= LONGEST_SCRAPE:
            raise ValueError(f"scrape_interval must be between 1 and {LONGEST_SCRAPE} seconds, got {self.scrape_interval}")
        if not self.latency > 0 or self.backlog < 1:
            raise ValueError(f"latency and backlog must be positive, got {self.latency} and {self.backlog}")
        if not 0 < self.utilization < 1:
            raise ValueError(f"utilization is a share between 0 and 1, got {self.utilization}")
        if not LEAST_IN_TIME <= self.in_time < 1:
            raise ValueError(f"in_time is a share of at least {LEAST_IN_TIME} and below 1, got {self.in_time}")

    def render(self, bundle: Bundle) -> Mapping[str, bytes]:
        """Return the files for the model of a bundle, named as ``strop serve`` names it."""
        manifest = read_manifest(bundle.folder)
        times = [f"{point} {show_seconds(row['seconds'])}" for point, row in manifest.latency.items() if "seconds" in row]
        measured = f" Measured when the bundle was made: {', '.join(times)}." if times else ""
        return self._files(model_name(bundle.folder, self.model), f"Served by {manifest.engine}.{measured}")

    def render_any(self) -> Mapping[str, bytes]:
        """Return the files for ``model``, or for every model that is scraped, without looking at a bundle."""
        return self._files(self.model, "")

    def _files(self, model: str, about: str) -> Mapping[str, bytes]:
        watch = Watch(model=model, latency=self.latency, utilization=self.utilization, backlog=self.backlog, in_time=self.in_time)
        return {
            "dashboard.json": (json.dumps(dashboard(watch, about), indent=1, ensure_ascii=False) + "\n").encode(),
            "rules.yml": _yaml("Check with: promtool check rules rules.yml", rule_file(watch)),
            "rules_test.yml": _yaml("Run with: promtool test rules rules_test.yml", rule_tests(watch)),
            "prometheus.yml": _yaml(
                "Run with: prometheus --config.file=prometheus.yml. The admin port answers only when it is addressed as\n"
                "# 127.0.0.1, localhost or [::1]: let Prometheus run beside the server, or end a tunnel there.",
                scrape_file(self.target, self.scrape_interval),
            ),
        }


def _yaml(comment: str, tree: dict[str, Any]) -> bytes:
    return f"# {comment}\n{yaml.safe_dump(tree, sort_keys=False, width=120, allow_unicode=True)}".encode()
