"""What Prometheus reads, parsed by its own client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from strop.serve.app import App
from strop.serve.metrics import REASONS, Metrics, render
from strop.serve.request import Outcome
from tests.serve.conftest import POISON, Doubler
from tests.serve.test_app import INFER, body

Within = Callable[..., Any]


def samples(app: App) -> dict[str, float]:
    page, kind = render(Metrics(app, {"read": 0.5}))
    assert kind.startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "model")
            assert sample.labels["model"] == "double"
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
