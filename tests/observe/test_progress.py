"""A training shown to a person: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io

import pytest

from strop.observe import Event, Level
from strop.observe.progress import ProgressSink


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(number: int, loss: float = 0.5) -> Event:
    return Event("train.step", level=Level.DETAIL, data={"step": number, "loss": loss, "samples": 32, "seconds": 0.5})


def test_without_a_terminal_a_line_comes_only_now_and_then() -> None:
    now, stream = [0.0], io.StringIO()
    sink = ProgressSink(stream, width=120, clock=lambda: now[0])
    sink(Event("train.started", data={"total": 100, "step": 0}))
    for second in range(1, 26):
        now[0] = float(second)
        sink(step(second))
    sink(Event("train.metric", "accuracy epoch 1: [0.75]", Level.RESULT))
    sink(Event("run.finished", "Trained.", Level.RESULT))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 10 of 100  ·  1 m 30 s left  ·  loss 0.5  ·  64.0 samples/s"
    assert lines[1:] == [
        "step 20 of 100  ·  1 m 20 s left  ·  loss 0.5  ·  64.0 samples/s",
        "accuracy epoch 1: [0.75]",
        "Trained.",
    ]


def test_time_left_counts_the_steps_of_this_sitting_only() -> None:
    now, stream = [0.0], io.StringIO()
    sink = ProgressSink(stream, width=120, clock=lambda: now[0], every=0.0)
    sink(Event("train.started", data={"total": 100, "step": 90}))
    now[0] = 5.0
    sink(step(95))
    sink(step(100, float("nan")))
    assert "step 95 of 100  ·  5.00 s left" in stream.getvalue()
    assert "finishing  ·  loss not measured" in stream.getvalue()


def test_on_a_terminal_a_bar_is_drawn_and_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    sink = ProgressSink(stream, width=160)
    sink(Event("train.started", data={"total": 10, "step": 0}))
    sink(step(1))
    assert "step 1 of 10" in stream.getvalue()
    sink(Event("run.interrupted", "Interrupted.", Level.WARNING))
    sink.close()
    assert "warning: Interrupted." in stream.getvalue()
