"""Planted series for ``promtool test rules``: each case says which alerts fire on it, in their very words, and when none does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from strop.deliverables.rules import JOB, NUMBER, SHARE, Alert, Watch, alerts, selector
from strop.units import Seconds

STEP: Seconds = 30
HOUR = 120
"""Steps of an hour."""
END = "40m"
"""When all that should fire has: the slowest alert waits for half an hour."""
INSTANCE = "127.0.0.1:8082"
UP = selector("up", {"job": JOB, "instance": INSTANCE})

Series = dict[str, str]
"""Selector → values in promtool's notation: ``0+150x120`` is 0, 150, 300, … to the 120th step."""


def rule_tests(watch: Watch) -> dict[str, Any]:
    """Return the tests of the rules of :func:`~strop.deliverables.rules.rule_file`, as promtool reads them."""
    limit = watch.latency
    p99 = limit + 0.99 * 2 * limit  # of requests that all lie between the limit and three times the limit
    cases = [
        _case("healthy", watch, _healthy(watch)),
        _case("slow for long", watch, _latency(watch, quick=f"0x{HOUR}"), fires={"HighInferenceLatency": p99}, quiet_until="4m"),
        _case("slow for three minutes", watch, _latency(watch, quick=f"0x6 0+150x{HOUR}")),
        _case("slow and unused", watch, _latency(watch, quick=f"0x{HOUR}", all_=f"0x{HOUR}")),
        _case("backlog", watch, _one(watch, "strop_queue_length", watch.backlog), fires={"HighBacklog": watch.backlog}),
        _case("almost a backlog", watch, _one(watch, "strop_queue_length", watch.backlog - 1)),
        _case("lost requests", watch, _one(watch, "strop_ledger_unaccounted", 1), fires={"LedgerUnaccounted": 1}),
        _case("executor down", watch, _one(watch, "strop_executors_hanging", 1), fires={"ExecutorDown": 1}),
        _case("server down", watch, {UP: f"0x{HOUR}"}, fires={"ServerDown": 0}),
        _case("hardly used", watch, _healthy(watch, busy=watch.utilization / 2), fires={"LowUtilization": watch.utilization / 2}),
        _case("not used at all", watch, _healthy(watch, busy=0.0, sent=0)),
        _case("most too late", watch, _healthy(watch, in_time=15), fires={"ObjectiveBurn": 0.9}),
        _case("half refused", watch, _healthy(watch, refused=75), fires={"RequestsRefused": 0.5}),
    ]
    return {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": cases}


def _case(
    name: str, watch: Watch, series: Series, fires: Mapping[str, float] | None = None, quiet_until: str = ""
) -> dict[str, Any]:
    """Return a test: at the end, exactly the alerts in ``fires`` (with their value) are on; at ``quiet_until``, none."""
    wanted = fires or {}
    expected = {alert.name: _expected(alert, watch, wanted) for alert in alerts(watch)}
    rows = [{"eval_time": END, "alertname": name, "exp_alerts": fired} for name, fired in expected.items()]
    if quiet_until:
        rows += [{"eval_time": quiet_until, "alertname": name, "exp_alerts": []} for name in expected]
    return {
        "name": name,
        "interval": f"{STEP}s",
        "input_series": [{"series": selector, "values": values} for selector, values in series.items()],
        "alert_rule_test": rows,
    }


def _expected(alert: Alert, watch: Watch, fires: Mapping[str, float]) -> list[dict[str, Any]]:
    if alert.name not in fires:
        return []
    labels = {"severity": alert.severity, "job": JOB, "instance": INSTANCE}
    labels |= {"model": _model(watch)} if alert.name != "ServerDown" else {}
    texts = {"summary": alert.summary, "description": alert.description}
    value = fires[alert.name]
    return [{"exp_labels": labels, "exp_annotations": {key: _expand(text, labels, value) for key, text in texts.items()}}]


def _expand(template: str, labels: Mapping[str, str], value: float) -> str:
    """Fill in a template as Prometheus does, as far as the rules use templates."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda match: labels[match[1]], template)
    text = text.replace(SHARE, f"{100 * value:.4g}%")
    return text.replace(NUMBER, f"{value:.3g}")


def _model(watch: Watch) -> str:
    return watch.model or "mine"


def _series(watch: Watch, metric: str, **labels: str) -> str:
    return selector(metric, {"job": JOB, "instance": INSTANCE, "model": _model(watch), **labels})


def _one(watch: Watch, metric: str, value: float) -> Series:
    return {_series(watch, metric): f"{value:g}x{HOUR}"}


def _latency(watch: Watch, *, quick: str, all_: str = f"0+150x{HOUR}") -> Series:
    """Return a histogram of which ``quick`` lie within the limit and all within three times the limit."""
    bounds = {f"{watch.latency:g}": quick, f"{3 * watch.latency:g}": all_, "+Inf": all_}
    return {_series(watch, "strop_request_seconds_bucket", le=bound): values for bound, values in bounds.items()}


def _healthy(watch: Watch, *, busy: float = 0.85, sent: int = 150, in_time: int | None = None, refused: int = 0) -> Series:
    """Return what a server shows that answers ``sent`` requests a step, of which ``in_time`` within the objective."""
    counters = {
        _series(watch, "strop_requests_sent_total"): sent,
        _series(watch, "strop_requests_in_time_total"): sent if in_time is None else in_time,
        _series(watch, "strop_requests_total", outcome="refused"): refused,
        _series(watch, "strop_execute_seconds_sum"): busy * STEP,
    }
    gauges = {"strop_executors": 1, "strop_ready": 1, "strop_executors_hanging": 0, "strop_ledger_unaccounted": 0}
    return {
        **{selector: f"0+{step:g}x{HOUR}" for selector, step in counters.items()},
        **{selector: values for name, value in gauges.items() for selector, values in _one(watch, name, value).items()},
        **_latency(watch, quick=f"0+{sent}x{HOUR}", all_=f"0+{sent}x{HOUR}"),
        UP: f"1x{HOUR}",
    }
