"""What Prometheus is shown. Everything is read off the desk when it asks; requests pay for nothing but their own counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from strop.errors import MissingExtraError
from strop.serve.app import App
from strop.serve.histogram import Histogram
from strop.serve.request import Outcome

if TYPE_CHECKING:
    from prometheus_client.core import Metric

REASONS = ("invalid", "rejected", "expired", "cancelled", "engine", "memory", "unsayable", "worker_lost", "shutdown")


class Metrics:
    """Collects the figures of an application; a collector as ``prometheus_client`` wants it.

    Args:
        app: whose figures; its model's name is the only label that is not fixed here.
        cold: phase of starting → seconds it took.
    """

    def __init__(self, app: App, cold: dict[str, float]) -> None:
        self._app, self._cold = app, cold

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        desk, model = self._app.desk, self._app.name
        scheduler = desk.scheduler
        ended = CounterMetricFamily("strop_requests", "Requests by how they ended.", labels=["model", "outcome"])
        for outcome in Outcome:
            ended.add_metric([model, outcome], scheduler.accounts.ended[outcome])
        yield ended
        failures = CounterMetricFamily(
            "strop_request_failures", "Requests without a result, by reason.", labels=["model", "reason"]
        )
        for reason in REASONS:
            failures.add_metric([model, reason], desk.failures[reason])
        yield failures
        loads = CounterMetricFamily("strop_model_loads", "Newer versions asked for while serving.", labels=["model", "result"])
        for result in ("ok", "refused"):
            loads.add_metric([model, result], desk.loads[result])
        yield loads
        counters = {
            "strop_requests_sent": ("Requests that came.", scheduler.accounts.sent),
            "strop_batch_retries": ("Batches that raised and were tried again by halves.", desk.failures["retried"]),
            "strop_worker_restarts": ("Workers started anew after theirs had ended.", desk.workers.restarts),
        }
        for name, (text, count) in counters.items():
            counter = CounterMetricFamily(name, text, labels=["model"])
            counter.add_metric([model], count)
            yield counter
        gauges: dict[str, tuple[str, float]] = {
            "strop_requests_in_flight": ("Requests that have not ended.", scheduler.accounts.open),
            "strop_queue_length": ("Requests that wait for a batch.", len(scheduler.queue)),
            "strop_queue_bytes": ("Bytes of requests that wait.", scheduler.queue.size),
            "strop_ledger_unaccounted": (
                "Requests that neither ended nor are open; 0 unless strop is wrong.",
                scheduler.accounts.unaccounted,
            ),
            "strop_batch_limit_rows": ("Rows of a batch that memory allows.", scheduler.limit.rows),
            "strop_utilization_ratio": ("Share of executors at work.", len(scheduler.running) / scheduler.policy.executors),
            "strop_ready": ("1 when requests are taken and every worker answers.", float(desk.ready)),
            "strop_workers_up": ("Workers that can run a batch.", desk.workers.up),
            "strop_objective_seconds": ("Time within which requests are to be answered.", scheduler.policy.objective),
        }
        for name, (text, value) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            gauge.add_metric([model], value)
            yield gauge
        cold = GaugeMetricFamily("strop_cold_start_seconds", "Time of starting, by phase.", labels=["model", "phase"])
        for phase, seconds in self._cold.items():
            cold.add_metric([model, phase], seconds)
        yield cold
        histograms: dict[str, tuple[str, Histogram]] = {
            "strop_request_seconds": ("Arrival to answer of answered requests.", desk.request_seconds),
            "strop_queue_seconds": ("Arrival to start of the batch.", desk.queue_seconds),
            "strop_execute_seconds": ("Start to end of a batch.", desk.execute_seconds),
            "strop_batch_rows": ("Rows of a batch.", desk.batch_rows),
            "strop_predicted_seconds_error_ratio": ("Time of a batch over its prediction.", desk.error_ratios),
        }
        for name, (text, kept) in histograms.items():
            family = HistogramMetricFamily(name, text, labels=["model"])
            family.add_metric([model], kept.cumulative(), kept.total)
            yield family


def render(metrics: Metrics) -> tuple[bytes, str]:
    """Return the page that Prometheus reads, and its media type.

    Raises:
        MissingExtraError: the client library is not installed.
    """
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingExtraError("metrics", "serve") from error
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry), CONTENT_TYPE_LATEST
