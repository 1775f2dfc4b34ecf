"""What Prometheus reads, parsed by its own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from strop.serve.app import App
from strop.serve.metrics import REASONS, Metrics, render
from strop.serve.request import Outcome
from tests.serve.conftest import POISON, STUCK, Doubler
from tests.serve.test_app import INFER, body

Within = Callable[..., Any]
HISTOGRAMS = {f"strop_{name}" for name in ("request_seconds", "queue_seconds", "execute_seconds", "batch_rows")} | {
    "strop_batch_padding_ratio", "strop_predicted_seconds_error_ratio",
}  # fmt: skip


def samples(app: App) -> dict[str, float]:
    page, kind = render(Metrics(app, {"read": 0.5}))
    assert kind.startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "model")
            named = sample.name.startswith("strop_") and not sample.name.startswith("strop_memory_")
            assert sample.labels.get("model") == ("double" if named else None)
            found[f"{sample.name}[{labels}]" if labels else sample.name] = sample.value
    return found


def test_every_request_shows_and_labels_come_from_nobody_s_request(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        before = samples(app)
        for data in (body(), body(POISON), b"{"):
            await app.handle("POST", INFER, {}, data)
        await app.handle("POST", "/v2/models/stranger/infer", {}, body())
        after = samples(app)
        assert set(after) == set(before), "no label appears by being asked for"
        assert {o: after[f"strop_requests_total[{o}]"] for o in Outcome} == {
            "ok": 1, "refused": 0, "expired": 0, "failed": 2, "cancelled": 0,
        }  # fmt: skip
        assert [after[f"strop_request_failures_total[{reason}]"] for reason in REASONS].count(1) == 2
        assert (after["strop_requests_sent_total"], after["strop_ledger_unaccounted"], after["strop_ready"]) == (3, 0, 1)
        assert after["strop_batch_rows_sum"] == after["strop_request_seconds_count"] == 1
        assert after["strop_cold_start_seconds[read]"] == 0.5

    within(act)


def test_there_are_between_twenty_and_forty_indicators_in_base_units(within: Within) -> None:
    async def act(app: App, program: Doubler) -> list[tuple[str, str]]:
        return [(f.name, f.type) for f in text_string_to_metric_families(render(Metrics(app, {"read": 0.5}))[0].decode())]

    families = within(act)
    assert 20 <= len(families) == len({name for name, _ in families}) <= 40
    units = ("seconds", "ratio", "bytes", "rows")
    assert {name for name, kind in families if kind == "histogram"} == {
        name for name, _ in families if name.endswith(units) and name in HISTOGRAMS
    }
    assert all(name.startswith(("strop_", "process_")) for name, _ in families)


def test_in_time_counts_by_the_objective_and_the_backlog_by_what_runs(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        asked = asyncio.create_task(app.handle("POST", INFER, {}, body(STUCK)))
        while not program.batches:
            await asyncio.sleep(0.001)
        during = samples(app)
        assert during["strop_utilization_ratio"] == during["strop_executors"] == 1
        assert during["strop_backlog_seconds"] > 0 and during["strop_requests_in_flight"] == 1
        app.desk.now = lambda: time.monotonic() + 700.0
        program.release.set()
        await asked
        after = samples(app)
        assert after["strop_backlog_seconds"] == 0
        assert (after["strop_requests_total[ok]"], after["strop_requests_in_time_total"]) == (1, 0), "700 s are more than 600"

    within(act, objective=600.0, expected=500.0, hang=1e6)


def test_a_hanging_executor_shows(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        assert samples(app)["strop_executors_hanging"] == 0
        answer = await app.handle("POST", INFER, {}, body(STUCK))
        assert answer.status == 503
        after = samples(app)
        assert (after["strop_executors_hanging"], after["strop_ready"]) == (1, 0)
        assert after["strop_request_failures_total[worker_lost]"] == 1

    within(act, hang=0.05)
