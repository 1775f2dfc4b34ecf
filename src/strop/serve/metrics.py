"""What Prometheus is shown. Everything is read off the desk when it asks; requests pay for nothing but their own counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata as distributions
from typing import TYPE_CHECKING

from strop.errors import MissingExtraError
from strop.serve.app import App
from strop.serve.request import Outcome
from strop.serve.resources import Resources, read_resources

if TYPE_CHECKING:
    from prometheus_client.core import Metric

REASONS = ("invalid", "rejected", "expired", "cancelled", "engine", "memory", "unsayable", "worker_lost", "shutdown")

Figures = Iterable[tuple[str, str, float]]
"""Name, what it says, value."""


class Metrics:
    """Collects the figures of an application; a collector as ``prometheus_client`` wants it.

    Args:
        app: whose figures; its model's name is the only label that is not fixed here.
        cold: phase of starting → seconds it took.
    """

    def __init__(self, app: App, cold: Mapping[str, float]) -> None:
        self._app, self._cold = app, cold

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        desk, model, resources = self._app.desk, {"model": self._app.name}, read_resources()
        ended = desk.scheduler.accounts.ended
        about = {"version": distributions.version("strop"), "platform": self._app.metadata["platform"]}
        yield _family("gauge", "strop_build_info", "Always 1; what serves.", [({**model, **about}, 1.0)])
        outcomes = [({**model, "outcome": str(outcome)}, ended[outcome]) for outcome in Outcome]
        yield _family("counter", "strop_requests", "Requests by how they ended.", outcomes)
        reasons = [({**model, "reason": reason}, desk.counts.failures[reason]) for reason in REASONS]
        yield _family("counter", "strop_request_failures", "Requests without a result, by reason.", reasons)
        loads = [({**model, "result": result}, desk.counts.loads[result]) for result in ("ok", "refused")]
        yield _family("counter", "strop_model_loads", "Newer versions asked for while serving, by what came of it.", loads)
        phases = [({**model, "phase": phase}, seconds) for phase, seconds in self._cold.items()]
        yield _family("gauge", "strop_cold_start_seconds", "Time of starting, by phase.", phases)
        for name, text, value in self._counters():
            yield _family("counter", name, text, [(model, value)])
        for name, text, value in self._gauges():
            yield _family("gauge", name, text, [(model, value)])
        yield from self._histograms()
        for name, text, value in _memory(resources):
            yield _family("gauge", name, text, [({"device": "cpu"}, value)])
        yield _family("counter", "process_cpu_seconds", "Processor time used.", [({}, resources.cpu)])
        for name, text, value in _process(resources):
            yield _family("gauge", name, text, [({}, value)])

    def _counters(self) -> Figures:
        desk = self._app.desk
        yield "strop_requests_sent", "Requests that came.", desk.scheduler.accounts.sent
        yield "strop_requests_in_time", "Requests answered within the objective.", desk.counts.in_time
        yield "strop_batch_retries", "Batches that raised and were tried again by halves.", desk.counts.failures["retried"]
        yield "strop_worker_restarts", "Workers started anew after theirs had ended.", desk.workers.restarts

    def _gauges(self) -> Figures:
        desk = self._app.desk
        scheduler = desk.scheduler
        yield "strop_requests_in_flight", "Requests that have not ended.", scheduler.accounts.open
        yield "strop_queue_length", "Requests that wait for a batch.", len(scheduler.queue)
        yield "strop_queue_bytes", "Bytes of requests that wait.", scheduler.queue.size
        yield "strop_backlog_seconds", "Time until the work taken so far is likely done.", desk.backlog
        yield "strop_body_bytes", "Bytes of requests' bodies that are held.", self._app.held
        yield (
            "strop_ledger_unaccounted",
            "Requests that neither ended nor are open; 0 unless strop is wrong.",
            scheduler.accounts.unaccounted,
        )
        yield "strop_batch_limit_rows", "Rows of a batch that memory allows.", scheduler.limit.rows
        yield "strop_executors", "Batches that may run side by side.", scheduler.policy.executors
        yield "strop_executors_hanging", "Executors given up because their batch does not end.", len(desk.hanging)
        yield "strop_workers_up", "Workers that can run a batch.", desk.workers.up
        yield "strop_utilization_ratio", "Share of executors at work.", len(scheduler.running) / scheduler.policy.executors
        yield "strop_ready", "1 when requests are taken and every worker answers.", float(desk.ready)
        yield "strop_objective_seconds", "Time within which requests are to be answered.", scheduler.policy.objective

    def _histograms(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        desk = self._app.desk
        for name, text, kept in (
            ("strop_request_seconds", "Arrival to answer of answered requests.", desk.counts.request_seconds),
            ("strop_queue_seconds", "Arrival to start of the batch.", desk.counts.queue_seconds),
            ("strop_execute_seconds", "Start to end of a batch.", desk.counts.execute_seconds),
            ("strop_batch_rows", "Rows of a batch.", desk.counts.batch_rows),
            ("strop_batch_padding_ratio", "Share of a batch that only makes its rows equally long.", desk.counts.padding_ratios),
            ("strop_predicted_seconds_error_ratio", "Time of a batch over its prediction.", desk.counts.error_ratios),
        ):
            family = HistogramMetricFamily(name, text, labels=["model"])
            family.add_metric([self._app.name], kept.cumulative(), kept.total)
            yield family


def _memory(resources: Resources) -> Figures:
    yield "strop_memory_free_bytes", "Memory that the process can still get.", resources.free
    yield "strop_memory_total_bytes", "Memory that the process may use.", resources.total
    yield "strop_memory_headroom_ratio", "Share of memory that is left.", resources.headroom


def _process(resources: Resources) -> Figures:
    """Under the names that Prometheus' own client libraries give them."""
    yield "process_resident_memory_bytes", "Memory held.", resources.resident
    yield "process_open_fds", "Open files and sockets.", resources.descriptors
    yield "process_max_fds", "Most files and sockets that may be open.", resources.descriptors_allowed
    yield "process_threads", "Threads.", resources.threads
    yield "process_start_time_seconds", "When the process began, in seconds since 1970.", resources.started


def _family(kind: str, name: str, text: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    """Return a metric of samples, each with its labels."""
    from prometheus_client.core import Metric

    family = Metric(name, text, kind)
    for labels, value in samples:
        family.add_sample(f"{name}_total" if kind == "counter" else name, labels, value)
    return family


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
