"""Rows, checkpoints and interrupts of a training."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from strop.api.train_record import Interval, StepRecord, interrupts, rows_until
from strop.errors import UsageError
from strop.loop.checkpoint import Checkpoints
from strop.loop.intents import training_of
from strop.loop.loop import TrainingLoop
from strop.observe import Event, JsonlSink
from strop.testing.models import pad, sentences_workload


@pytest.mark.parametrize(("text", "interval"), [("500", (500, None)), ("5m", (None, 300.0)), (" 90s ", (None, 90.0))])
def test_an_interval_is_steps_or_time(text: str, interval: Any) -> None:
    assert Interval.parse(text) == Interval(*interval)


@pytest.mark.parametrize("text", ["0", "-3", "often", "0s", ""])
def test_an_interval_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"500 or 5m|duration such as 5m"):
        Interval.parse(text)


def follow(record: StepRecord, steps: int | None = None, **changes: Any) -> TrainingLoop:
    workload = sentences_workload(**changes)
    training = training_of(workload, 0)
    record.follow(training)
    with TrainingLoop(workload.model(), training, seed=0) as loop:
        loop.run(steps)
    return loop


def test_every_step_becomes_a_row_and_an_event_in_order() -> None:
    told: list[Event] = []
    record = StepRecord(told.append, None, Interval(None, None))
    follow(record, max_norm=1.0)
    assert [row.step for row in record.rows] == list(range(1, 7)) == [event.data["step"] for event in told]
    assert [row.epoch for row in record.rows] == [1, 1, 1, 2, 2, 2]
    assert all(row.taken and row.samples == 8 and row.seconds > 0 and row.rate == 1e-2 and row.norm for row in record.rows)


def test_time_before_the_first_forward_counts_as_waiting_and_later_micro_batches_do_not() -> None:
    now = [0.0]

    def slow(rows: list[Any]) -> Any:
        now[0] += 3.0
        return pad(rows)

    def forward(model: Any, batch: Any) -> Any:
        now[0] += 1.0
        return model(batch["input_ids"], batch["attention_mask"])["logits"]

    record = StepRecord(lambda event: None, None, Interval(None, None), clock=lambda: now[0])
    follow(record, collate=slow, forward=forward, micro_batch=4)
    assert [(row.waiting, row.seconds) for row in record.rows] == [(6.0, 8.0)] * 6


def test_rows_of_a_run_that_did_not_note_waiting_can_be_read(tmp_path: Path) -> None:
    record = StepRecord(JsonlSink(tmp_path / "events.jsonl"), None, Interval(None, None))
    follow(record, 1)
    old = json.loads((tmp_path / "events.jsonl").read_text())
    del old["waiting"]
    (tmp_path / "events.jsonl").write_text(json.dumps(old) + "\n")
    (row,) = rows_until(9, tmp_path / "events.jsonl")
    assert row.waiting == 0 and row.seconds == record.rows[0].seconds


@pytest.mark.parametrize(
    ("interval", "saved"), [(Interval(2, None), [4, 6]), (Interval(None, 2.5), [3, 6]), (Interval(4, None), [4])]
)
def test_checkpoints_come_after_so_many_steps_or_so_much_time(interval: Interval, saved: list[int], tmp_path: Path) -> None:
    ticks = iter(range(1000))
    seconds = {0: 0.0}

    def clock() -> float:  # a third of a second a look: three looks a step
        seconds[0] = next(ticks) / 3
        return seconds[0]

    record = StepRecord(lambda event: None, Checkpoints(tmp_path, {}), interval, clock=clock if interval.seconds else lambda: 0.0)
    follow(record)
    found = [int(path.name[5:13]) for path in sorted(tmp_path.iterdir())]
    assert found == saved if interval.steps else len(found) == 2


def test_rows_of_an_earlier_sitting_are_read_up_to_the_checkpoint_and_the_later_one_counts(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    assert rows_until(3, events) == []
    record = StepRecord(JsonlSink(events), None, Interval(None, None))
    follow(record, 4)
    again = StepRecord(JsonlSink(events), None, Interval(None, None))
    follow(again, 2, batch_size=4)
    rows = rows_until(3, events)
    assert [row.step for row in rows] == [1, 2, 3] and [row.samples for row in rows] == [4, 4, 8]


def test_the_first_interrupt_asks_and_the_second_ends_at_once() -> None:
    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts(lambda: asked.append(1)):
        os.kill(os.getpid(), signal.SIGINT)
        assert asked == [1]
        os.kill(os.getpid(), signal.SIGINT)
    assert asked == [1] and signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_signals_are_left_alone() -> None:
    seen: list[bool] = []

    def work() -> None:
        with interrupts(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT) is before)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
