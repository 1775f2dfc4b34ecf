"""What a dashboard of ``strop serve`` shows: rows of panels as data. ``$s`` stands for the chosen model and instance."""

from __future__ import annotations

from typing import NamedTuple

from strop.deliverables.rules import Watch

Curves = dict[str, str]
"""Legend → expression."""


class Panel(NamedTuple):
    """One panel.

    Attributes:
        title: what it shows.
        curves: legend → expression.
        unit: Grafana's name of the unit.
        note: what to make of it.
        kind: Grafana's name of the drawing.
        columns: its width, of 24.
        red_from: value from which on it is drawn in red.
        red_below: value below which it is drawn in red.
    """

    title: str
    curves: Curves
    unit: str = "short"
    note: str = ""
    kind: str = "timeseries"
    columns: int = 6
    red_from: float | None = None
    red_below: float | None = None


def rows(watch: Watch) -> dict[str, tuple[Panel, ...]]:
    """Return title of a row → its panels."""
    return {
        "At a glance": _glance(watch),
        "Traffic": _traffic(),
        "Latency": _latency(),
        "Batches": _batches(),
        "Capacity": _capacity(watch),
        "Process": _process(),
        "Accelerator": _accelerator(),
    }


def _rate(metric: str, by: str = "", labels: str = "$s") -> str:
    return f"sum {f'by ({by}) ' if by else ''}(rate({metric}{{{labels}}}[$__rate_interval]))"


def _mean(metric: str) -> str:
    return f"{_rate(f'{metric}_sum')} / {_rate(f'{metric}_count')}"


def _percentiles(metric: str) -> Curves:
    shares = {"median": 0.5, "90th": 0.9, "99th": 0.99}
    return {name: f"histogram_quantile({share}, {_rate(f'{metric}_bucket', 'le')})" for name, share in shares.items()}


def _glance(watch: Watch) -> tuple[Panel, ...]:
    ok, sent = _rate("strop_requests_total", labels='$s,outcome="ok"'), _rate("strop_requests_sent_total")
    panels = (
        Panel("Answered", {"": ok}, "reqps"),
        Panel("99th percentile", {"": "max(inference_latency_seconds{$s})"}, "s", red_from=watch.latency),
        Panel(
            "In time", {"": f"{_rate('strop_requests_in_time_total')} / {sent}"}, "percentunit",
            "Answered within the objective, of all sent.", red_below=watch.in_time,
        ),
        Panel("Waiting", {"": "sum(strop_queue_length{$s})"}, red_from=watch.backlog),
        Panel("Servers ready", {"": "sum(strop_ready{$s})"}, red_below=1),
        Panel("Unaccounted", {"": "sum(strop_ledger_unaccounted{$s})"}, note="Must be 0.", red_from=1),
    )  # fmt: skip
    return tuple(panel._replace(kind="stat", columns=4) for panel in panels)


def _traffic() -> tuple[Panel, ...]:
    return (
        Panel("Requests by how they ended", {"{{outcome}}": _rate("strop_requests_total", "outcome")}, "reqps", columns=8),
        Panel("Why some have no result", {"{{reason}}": _rate("strop_request_failures_total", "reason")}, "reqps", columns=8),
        Panel("Rows", {"rows": _rate("strop_batch_rows_sum"), "batches": _rate("strop_batch_rows_count")}, "cps", columns=8),
    )


def _latency() -> tuple[Panel, ...]:
    answered = {**_percentiles("strop_request_seconds"), "objective": "max(strop_objective_seconds{$s})"}
    note = "Of the answered requests; what was refused is under Traffic."
    return (
        Panel("Arrival to answer", answered, "s", note, columns=12),
        Panel("Waiting for a batch", _percentiles("strop_queue_seconds"), "s"),
        Panel("Running a batch", _percentiles("strop_execute_seconds"), "s"),
    )


def _batches() -> tuple[Panel, ...]:
    drift = "1 is as predicted. Above 1.5 promises to clients do not hold."
    return (
        Panel("Rows of a batch", {**_percentiles("strop_batch_rows"), "allowed": "max(strop_batch_limit_rows{$s})"}),
        Panel("Padding", {"mean share": _mean("strop_batch_padding_ratio")}, "percentunit"),
        Panel("Time over prediction", {"mean": _mean("strop_predicted_seconds_error_ratio")}, note=drift),
        Panel("Tried again by halves", {"batches": _rate("strop_batch_retries_total")}, "cps"),
    )


def _capacity(watch: Watch) -> tuple[Panel, ...]:
    busy = {"{{instance}}": "strop:utilization:ratio5m{$s}", "now {{instance}}": "strop_utilization_ratio{$s}"}
    return (
        Panel("Executors at work", busy, "percentunit"),
        Panel("Waiting requests", {"{{instance}}": "strop_queue_length{$s}"}, red_from=watch.backlog),
        Panel("Work taken so far", {"{{instance}}": "strop_backlog_seconds{$s}"}, "s"),
        Panel("Executors", {"all": "sum(strop_executors{$s})", "hanging": "sum(strop_executors_hanging{$s})"}),
    )


def _process() -> tuple[Panel, ...]:
    job = '{job="strop"}'
    memory = {
        "left {{instance}}": f"strop_memory_free_bytes{job}",
        "held {{instance}}": f"process_resident_memory_bytes{job}",
        "bodies": "sum(strop_body_bytes{$s})",
        "waiting": "sum(strop_queue_bytes{$s})",
    }
    counts = {"open {{instance}}": f"process_open_fds{job}", "threads {{instance}}": f"process_threads{job}"}
    cores = {"{{instance}}": f"rate(process_cpu_seconds_total{job}[$__rate_interval])"}
    return (
        Panel("Memory", memory, "bytes"),
        Panel("Processor", cores, note="Cores kept busy."),
        Panel("Files, sockets, threads", counts),
        Panel("Starting", {"{{phase}}": "max by (phase) (strop_cold_start_seconds{$s})"}, "s", kind="bargauge"),
    )


def _accelerator() -> tuple[Panel, ...]:
    metrics = {
        "Multiprocessors active": "DCGM_FI_PROF_SM_ACTIVE",
        "Tensor cores active": "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "Memory bandwidth in use": "DCGM_FI_PROF_DRAM_ACTIVE",
    }
    note = "Needs NVIDIA's DCGM exporter; empty without one."
    return tuple(Panel(title, {"GPU {{gpu}}": name}, "percentunit", note, columns=8) for title, name in metrics.items())
