from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strop.errors import LedgerError, MeasureError
from strop.load.samples import ENDINGS, Outcome, Recorder, Samples, outcome_of


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.OK),
        (429, Outcome.REFUSED),
        (503, Outcome.REFUSED),
        (504, Outcome.EXPIRED),
        (408, Outcome.EXPIRED),
        (500, Outcome.FAILED),
        (400, Outcome.FAILED),
        (201, Outcome.FAILED),
    ],
)
def test_a_status_is_one_ending(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome


def filled() -> Recorder:
    """One request of every ending, and one that was never sent."""
    recorder = Recorder(np.arange(7.0))
    for place, outcome in enumerate(ENDINGS):
        recorder.send(place, place + 0.25)
        recorder.end(place, place + 0.75, outcome, 200 if outcome is Outcome.OK else 0, "Reset" * (outcome is Outcome.FAILED))
    return recorder


def test_the_account_adds_up_and_names_every_ending() -> None:
    account = filled().samples().account()
    assert account == {
        "scheduled": 7, "sent": 6, "ok": 1, "refused": 1, "expired": 1, "failed": 1, "cancelled": 1, "timeout": 1,
    }  # fmt: skip


def test_latency_counts_from_the_schedule_and_lag_is_the_generator_s() -> None:
    samples = filled().samples()
    assert np.allclose(samples.latency[:6], 0.75)
    assert np.allclose(samples.lag[:6], 0.25)
    assert np.isnan(samples.latency[6])


def test_a_request_left_in_flight_is_an_account_that_does_not_balance() -> None:
    recorder = filled()
    recorder.send(6, 6.0)
    with pytest.raises(MeasureError, match="7 requests were sent, but the ends of 6 are known"):
        recorder.samples().account()


def test_no_request_is_sent_or_ended_twice() -> None:
    recorder = filled()
    with pytest.raises(MeasureError, match="request 0 is ok, so it cannot become in flight"):
        recorder.send(0, 1.0)
    with pytest.raises(MeasureError, match="request 1 is refused, so it cannot become ok"):
        recorder.end(1, 1.0, Outcome.OK, 200)
    with pytest.raises(MeasureError, match="request 6 is unsent"):
        recorder.end(6, 1.0, Outcome.OK, 200)


def test_counts_follow_what_happens() -> None:
    recorder = Recorder(np.zeros(2))
    recorder.send(0, 0.0)
    assert recorder.counts[Outcome.IN_FLIGHT] == 1
    recorder.end(0, 0.1, Outcome.OK, 200)
    assert (recorder.counts[Outcome.IN_FLIGHT], recorder.counts[Outcome.OK]) == (0, 1)


def test_codes_hold_statuses_and_reasons() -> None:
    assert filled().samples().codes() == {"200": 1, "Reset": 1}


def test_samples_survive_the_disk(tmp_path: Path) -> None:
    before = filled().samples()
    before.save(tmp_path / "samples.npz")
    after = Samples.open(tmp_path / "samples.npz")
    for name in ("scheduled", "sent", "finished", "outcome", "status"):
        assert np.array_equal(getattr(before, name), getattr(after, name), equal_nan=name in ("sent", "finished"))
    assert after.reasons == before.reasons
    assert after.account() == before.account()


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"PK\x03\x04 nonsense"])
def test_a_damaged_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "samples.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LedgerError, match=r"samples\.npz does not hold"):
        Samples.open(file)
