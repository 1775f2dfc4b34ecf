"""The rules, proven by Prometheus' own tool on planted series; and the proof, by rules that are broken on purpose."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from strop.deliverables.rule_tests import rule_tests
from strop.deliverables.rules import Watch, alerts, recordings, rule_file, scrape_file
from tests.deliverables.conftest import Promtool

WATCH = Watch(model="", latency=0.5, utilization=0.7, backlog=10, in_time=0.99)
OTHER = Watch(model="tiny-2.b", latency=0.05, utilization=0.4, backlog=200, in_time=0.95)


def written(folder: Path, watch: Watch, case: str = "", name: str = "", **changes: Any) -> Path:
    """Write rules and tests; of one case only, and with one alert changed, where these are given."""
    rules, tests = copy.deepcopy(rule_file(watch)), rule_tests(watch)
    for rule in rules["groups"][1]["rules"]:
        rule |= changes if rule["alert"] == name else {}
    tests["tests"] = [test for test in tests["tests"] if case in ("", test["name"])]
    assert tests["tests"]
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    (folder / "rules_test.yml").write_text(yaml.safe_dump(tests))
    return folder / "rules_test.yml"


@pytest.mark.parametrize("watch", [WATCH, OTHER], ids=["any", "one model"])
def test_the_rules_are_valid_and_every_planted_case_ends_as_it_should(watch: Watch, tmp_path: Path, promtool: Promtool) -> None:
    tests = written(tmp_path, watch)
    checked = promtool("check", "rules", tmp_path / "rules.yml")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    assert f"{len(alerts(watch)) + len(recordings(watch))} rules found" in checked.stdout
    done = promtool("test", "rules", tests)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(watch: Watch) -> dict[str, str]:
    """Return alert → the case on which it fires."""
    return {
        row["alertname"]: case["name"]
        for case in rule_tests(watch)["tests"]
        for row in case["alert_rule_test"]
        if row["exp_alerts"]
    }


@pytest.mark.parametrize(("name", "case"), sorted(firing(WATCH).items()))
def test_an_alert_that_can_never_fire_is_noticed(name: str, case: str, tmp_path: Path, promtool: Promtool) -> None:
    assert promtool("test", "rules", written(tmp_path, WATCH, case)).returncode == 0
    expression = next(alert.expression for alert in alerts(WATCH) if alert.name == name)
    done = promtool("test", "rules", written(tmp_path, WATCH, case, name, expr=f"({expression}) and on () vector(0) > 1"))
    assert done.returncode == 1
    assert name in done.stdout + done.stderr


BENT: list[tuple[str, str, dict[str, Any]]] = [
    ("slow for long", "HighInferenceLatency", {"for": "0m"}),
    ("slow for three minutes", "HighInferenceLatency", {"expr": "max_over_time(inference_latency_seconds[1h]) > 0.5"}),
    ("slow for long", "HighInferenceLatency", {"expr": "inference_latency_seconds > 1.5"}),
    ("slow for long", "HighInferenceLatency", {"labels": {"severity": "info"}}),
    ("slow for long", "HighInferenceLatency", {"annotations": {"summary": "high", "description": "high"}}),
    # the documents' own expression would never fire: a histogram exports no series of its bare name
    ("slow for long", "HighInferenceLatency", {"expr": "strop_request_seconds > 0.5"}),
    ("almost a backlog", "HighBacklog", {"expr": "strop_queue_length >= 9"}),
    ("backlog", "HighBacklog", {"expr": "strop_queue_length > 10"}),
    ("not used at all", "LowUtilization", {"expr": "strop:utilization:ratio5m < 0.7"}),
    ("healthy", "LowUtilization", {"expr": "strop:utilization:ratio5m < 0.9 and strop:requests_sent:rate5m > 0"}),
    ("lost requests", "LedgerUnaccounted", {"expr": "strop_ledger_unaccounted > 1"}),
]


@pytest.mark.parametrize(("case", "name", "change"), BENT)
def test_a_rule_that_says_something_else_is_noticed(
    case: str, name: str, change: dict[str, Any], tmp_path: Path, promtool: Promtool
) -> None:
    done = promtool("test", "rules", written(tmp_path, WATCH, case, name, **change))
    assert done.returncode == 1, done.stdout


def test_the_documents_alert_is_as_they_ask() -> None:
    alert = next(alert for alert in alerts(WATCH) if alert.name == "HighInferenceLatency")
    assert (alert.expression, alert.wait, alert.severity) == ("inference_latency_seconds > 0.5", "5m", "critical")
    assert alert.summary and "{{ $labels.instance }}" in alert.description
    assert recordings(WATCH)[0].name == "inference_latency_seconds"
    assert 'strop_queue_length{model="m"} >= 10' in {a.expression for a in alerts(_named("m"))}


def _named(model: str) -> Watch:
    return Watch(model=model, latency=0.5, utilization=0.7, backlog=10, in_time=0.99)


def test_alerts_are_told_apart_and_say_something() -> None:
    names = [alert.name for alert in alerts(WATCH)]
    assert len(names) == len(set(names))
    assert {alert.severity for alert in alerts(WATCH)} == {"critical", "warning", "info"}
    assert all(re.fullmatch(r"\d+m", alert.wait) and len(alert.description.split()) > 4 for alert in alerts(WATCH))


def test_a_named_model_is_asked_for_in_every_rule_about_models() -> None:
    for rule in (*recordings(OTHER), *alerts(OTHER)):
        for metric in re.findall(r"\b(?:strop_(?!memory)\w+|strop:[\w:]+)(?![\w:])(\{[^}]*\})?", rule.expression):
            assert 'model="tiny-2.b"' in metric, rule


def test_the_scrape_configuration_is_valid(tmp_path: Path, promtool: Promtool) -> None:
    written(tmp_path, WATCH)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(scrape_file("127.0.0.1:8082", 15)))
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
