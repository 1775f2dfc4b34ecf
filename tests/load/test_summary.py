from __future__ import annotations

import json

import numpy as np
import pytest

from strop.errors import MeasureError
from strop.load.samples import Outcome, Recorder, Samples
from strop.load.summary import Summary, summarize


def samples(latency: np.ndarray, *, seconds: float = 10.0, lag: float = 0.0, lost: dict[int, Outcome] | None = None) -> Samples:  # type: ignore[type-arg]
    """Requests at equal distances with these latencies; ``lost`` ends otherwise."""
    recorder = Recorder(np.arange(len(latency)) * (seconds / len(latency)))
    for place, value in enumerate(latency):
        at = place * (seconds / len(latency))
        outcome = (lost or {}).get(place, Outcome.OK)
        recorder.send(place, at + lag)
        recorder.end(place, at + value, outcome, 200 if outcome is Outcome.OK else 429)
    return recorder.samples()


def summary(taken: Samples, **settings: float) -> Summary:
    return summarize(taken, **{"rate": 100.0, "seconds": 10.0, **settings})  # type: ignore[arg-type]


def test_goodput_is_the_share_of_all_sent_that_kept_the_objective() -> None:
    """100 of 1000 are refused, 200 are late: a server that refuses what it cannot do must not look better for it."""
    latency = np.full(1000, 0.01)
    latency[100:300] = 0.2
    found = summary(samples(latency, lost=dict.fromkeys(range(100), Outcome.REFUSED)), objective=0.05)
    assert found.goodput is not None
    assert found.goodput.estimate == 0.7
    assert found.throughput == 90.0
    assert found.account["refused"] == 100


def test_without_an_objective_there_is_no_goodput() -> None:
    assert summary(samples(np.full(100, 0.01))).goodput is None


def test_percentiles_are_those_of_the_answered_and_rare_ones_need_enough_requests() -> None:
    latency = np.arange(1, 1001) / 1000
    found = summary(samples(latency, lost={999: Outcome.TIMEOUT}))
    p50, p99, p999 = (found.percentile(share) for share in (0.5, 0.99, 0.999))
    assert p50 is not None and p99 is not None
    assert p50.estimate == pytest.approx(0.5)
    assert p99.estimate == pytest.approx(0.99)
    assert p50.interval is not None and p99.interval is None
    assert p999 is None
    assert [p.name for p in found.latency] == ["p50", "p90", "p95", "p99"]


def test_warm_up_is_in_the_account_and_nowhere_else() -> None:
    latency = np.full(1000, 0.01)
    latency[:500] = 1.0
    found = summary(samples(latency), seconds=5.0, warmup=5.0, objective=0.05)
    assert found.account["sent"] == 1000
    assert found.counted == 500
    assert found.throughput == 100.0
    assert found.goodput is not None and found.goodput.estimate == 1.0
    p50 = found.percentile(0.5)
    assert p50 is not None and p50.estimate == pytest.approx(0.01)


def test_nothing_sent_after_the_warm_up_is_an_error() -> None:
    with pytest.raises(MeasureError, match="none of 100 requests was sent after 20 s"):
        summary(samples(np.full(100, 0.01)), warmup=20.0)


def test_the_time_until_a_refusal_is_kept_apart() -> None:
    latency = np.full(1000, 0.1)
    latency[:50] = 0.002
    found = summary(samples(latency, lost=dict.fromkeys(range(50), Outcome.REFUSED)))
    assert found.refusal == pytest.approx(0.002)
    assert summary(samples(latency)).refusal is None


def codes(found: Summary) -> list[str]:
    return [finding.code for finding in found.findings]


def test_a_late_generator_says_so() -> None:
    assert codes(summary(samples(np.full(1000, 0.02), lag=0.005))) == ["generator-late"]
    assert codes(summary(samples(np.full(1000, 0.2), lag=0.005))) == []


def test_a_busy_generator_says_so() -> None:
    assert codes(summary(samples(np.full(1000, 0.02)), processor=0.95)) == ["generator-busy"]


def test_a_queue_that_never_settles_is_named() -> None:
    assert codes(summary(samples(np.linspace(0.01, 2.0, 1000)))) == ["queue-grows"]
    assert codes(summary(samples(np.full(1000, 0.5)))) == []


def test_an_interrupted_load_says_how_much_was_never_sent() -> None:
    recorder = Recorder(np.arange(10.0))
    for place in range(4):
        recorder.send(place, float(place))
        recorder.end(place, place + 0.01, Outcome.OK, 200)
    found = summary(recorder.samples())
    assert codes(found) == ["interrupted"]
    assert "6 scheduled requests" in found.findings[0].message
    assert found.seconds == 3.0  # rates count the time there was
    assert found.throughput == pytest.approx(4 / 3)


def test_a_summary_has_a_json_form() -> None:
    assert json.loads(json.dumps(summary(samples(np.full(1000, 0.01)), objective=1.0).to_json()))["account"]["ok"] == 1000
