"""Recording and alert rules for Prometheus over the metrics of ``strop serve``, and planted series that prove them.

Rules are data: :func:`recordings` and :func:`alerts` list them, the rest writes them in Prometheus' own form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from strop.units import Ratio, Seconds, show_seconds, show_share

JOB = "strop"
BUDGET_BURN = 14.4
"""Times faster than allowed at which a month's error budget is gone in two days (Google SRE workbook, chapter 5)."""

HERE, MODEL = "{{ $labels.instance }}", "{{ $labels.model }}"
SHARE, NUMBER = "{{ $value | humanizePercentage }}", '{{ printf "%.3g" $value }}'
"""What Prometheus fills in when an alert fires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is watched, and from where on somebody is told.

    Attributes:
        model: only the model of this name; empty for all.
        latency: 99th percentile above which an alert fires.
        utilization: share of the executors' time below which an alert fires.
        backlog: waiting requests from which on an alert fires.
        in_time: share of the requests that is to be answered within the objective.
    """

    model: str
    latency: Seconds
    utilization: Ratio
    backlog: int
    in_time: Ratio

    def of(self, metric: str, **labels: str) -> str:
        """Return a selector of a metric, for instance ``strop_ready{model="mine"}``."""
        return selector(metric, {**({"model": self.model} if self.model else {}), **labels})


def selector(metric: str, labels: Mapping[str, str]) -> str:
    """Write a metric with labels as Prometheus does."""
    inner = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{inner}}}" if inner else metric


class Recording(NamedTuple):
    """A rule that stores the value of an expression under a name."""

    name: str
    expression: str


class Alert(NamedTuple):
    """A rule that tells somebody when an expression has had a value for so long."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    description: str


def recordings(watch: Watch) -> tuple[Recording, ...]:
    """Return what is computed once and used by alerts and dashboard.

    ``inference_latency_seconds`` is the 99th percentile: a histogram of that name could never exceed a limit, because
    a histogram has no value of its own.
    """
    buckets = watch.of("strop_request_seconds_bucket")
    sent, busy = watch.of("strop_requests_sent_total"), watch.of("strop_execute_seconds_sum")
    refused = watch.of("strop_requests_total", outcome="refused")
    return (
        Recording(
            "inference_latency_seconds",
            f"histogram_quantile(0.99, sum by (le, model, instance, job) (rate({buckets}[1m])))",
        ),
        Recording("strop:requests_sent:rate5m", f"rate({sent}[5m])"),
        Recording(
            "strop:utilization:ratio5m",
            f"rate({busy}[5m]) / on (model, instance, job) {watch.of('strop_executors')}",
        ),
        Recording(
            "strop:refused:ratio5m",
            f"sum without (outcome) (rate({refused}[5m])) / on (model, instance, job) rate({sent}[5m])",
        ),
        *(
            Recording(
                f"strop:late:ratio{window}",
                f"1 - rate({watch.of('strop_requests_in_time_total')}[{window}]) / rate({sent}[{window}])",
            )
            for window in ("5m", "1h")
        ),
    )


def alerts(watch: Watch) -> tuple[Alert, ...]:
    """Return who is told what, the most urgent first."""
    return (*_critical(watch), *_warnings(watch), _unused(watch))


def _critical(watch: Watch) -> tuple[Alert, ...]:
    burn = (1 - watch.in_time) * BUDGET_BURN
    return (
        Alert(
            "HighInferenceLatency", f"{watch.of('inference_latency_seconds')} > {watch.latency:g}", "5m", "critical",
            f"Inference latency of {MODEL} is high",
            f"{HERE}: the 99th percentile of {MODEL} is {NUMBER} s; it has been above {show_seconds(watch.latency)} "
            "for 5 minutes.",
        ),
        Alert(
            "ServerDown", f'up{{job="{JOB}"}} == 0', "1m", "critical",
            f"strop serve at {HERE} does not answer",
            f"{HERE} has not answered Prometheus for a minute.",
        ),
        Alert(
            "ExecutorDown", f"{watch.of('strop_executors_hanging')} > 0", "1m", "critical",
            f"An executor of {MODEL} hangs",
            f"{HERE}: {NUMBER} executors of {MODEL} do not end their batch. The server takes no requests until they do; "
            "restart it if they never do.",
        ),
        Alert(
            "NotReady", f"{watch.of('strop_ready')} == 0", "2m", "critical",
            f"{MODEL} takes no requests", f"{HERE}: {MODEL} has not been ready for 2 minutes.",
        ),
        Alert(
            "LedgerUnaccounted", f"{watch.of('strop_ledger_unaccounted')} != 0", "1m", "critical",
            f"Requests of {MODEL} are unaccounted for",
            f"{HERE}: {NUMBER} requests neither ended nor are open. This is a mistake in strop; please report it.",
        ),
        Alert(
            "ObjectiveBurn",
            f"{watch.of('strop:late:ratio5m')} > {burn:g} and {watch.of('strop:late:ratio1h')} > {burn:g}", "2m", "critical",
            f"Too few requests of {MODEL} are answered in time",
            f"{HERE}: {SHARE} of the requests were not answered within the objective; {show_share(watch.in_time)} are to be.",
        ),
    )  # fmt: skip


def _warnings(watch: Watch) -> tuple[Alert, ...]:
    return (
        Alert(
            "RequestsRefused", f"{watch.of('strop:refused:ratio5m')} > 0.01", "5m", "warning",
            f"Requests of {MODEL} are refused",
            f"{HERE}: {SHARE} of the requests to {MODEL} are refused because they could not be in time. Add capacity.",
        ),
        Alert(
            "HighBacklog", f"{watch.of('strop_queue_length')} >= {watch.backlog}", "1m", "warning",
            f"Requests of {MODEL} pile up", f"{HERE}: {NUMBER} requests wait; the limit is {watch.backlog}.",
        ),
        Alert(
            "LowMemoryHeadroom", f'strop_memory_headroom_ratio{{job="{JOB}"}} < 0.1', "5m", "warning",
            f"Memory runs short at {HERE}", f"{HERE}: {SHARE} of the memory is left.",
        ),
        Alert(
            "DescriptorsRunShort", f'process_open_fds{{job="{JOB}"}} / process_max_fds{{job="{JOB}"}} > 0.8', "5m", "warning",
            f"Open files and sockets run short at {HERE}", f"{HERE}: {SHARE} of the open files and sockets are in use.",
        ),
        Alert(
            "PredictionDrift",
            f"rate({watch.of('strop_predicted_seconds_error_ratio_sum')}[15m]) / "
            f"rate({watch.of('strop_predicted_seconds_error_ratio_count')}[15m]) > 1.5", "15m", "warning",
            f"Batches of {MODEL} take longer than predicted",
            f"{HERE}: a batch takes {NUMBER} times its prediction, so promises to clients do not hold.",
        ),
        Alert(
            "ReadinessFlaps", f"changes({watch.of('strop_ready')}[15m]) > 4", "0m", "warning",
            f"{MODEL} comes and goes", f"{HERE}: the readiness of {MODEL} changed {NUMBER} times within 15 minutes.",
        ),
        Alert(
            "ServerRestarts", f'changes(process_start_time_seconds{{job="{JOB}"}}[1h]) > 2', "0m", "warning",
            f"strop serve at {HERE} restarts again and again", f"{HERE} restarted {NUMBER} times within an hour.",
        ),
    )  # fmt: skip


def _unused(watch: Watch) -> Alert:
    busy, sent = watch.of("strop:utilization:ratio5m"), watch.of("strop:requests_sent:rate5m")
    return Alert(
        "LowUtilization", f"{busy} < {watch.utilization:g} and {sent} > 0", "30m", "info", f"{MODEL} is hardly used",
        f"{HERE}: the executors of {MODEL} work {SHARE} of their time, less than {show_share(watch.utilization)}: "
        "fewer would do.",
    )  # fmt: skip


def rule_file(watch: Watch) -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    return {
        "groups": [
            {"name": "strop-recordings", "rules": [{"record": r.name, "expr": r.expression} for r in recordings(watch)]},
            {
                "name": "strop-alerts",
                "rules": [
                    {
                        "alert": a.name,
                        "expr": a.expression,
                        "for": a.wait,
                        "labels": {"severity": a.severity},
                        "annotations": {"summary": a.summary, "description": a.description},
                    }
                    for a in alerts(watch)
                ],
            },
        ]
    }


def scrape_file(target: str, interval: int) -> dict[str, Any]:
    """Return a configuration of Prometheus that scrapes one server and reads the rules beside it."""
    return {
        "global": {"scrape_interval": f"{interval}s", "evaluation_interval": f"{interval}s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
    }
