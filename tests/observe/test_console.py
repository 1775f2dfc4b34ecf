import io
import subprocess
import sys

import pytest

from strop.observe import Event, Level
from strop.observe.console import ConsoleSink, trial_line

ROW = {
    "id": "t02",
    "recipe": "29 static_quantization + 47 engine_choice",
    "status": "kept",
    "reason": "",
    "speedup": {"low": 1.27, "estimate": 1.31, "high": 1.35, "confidence": 0.95},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _plain() -> tuple[ConsoleSink, io.StringIO]:
    stream = io.StringIO()
    return ConsoleSink(stream, width=120), stream


def _terminal(monkeypatch: pytest.MonkeyPatch, now: list[float], **environment: str) -> tuple[ConsoleSink, Terminal]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    return ConsoleSink(stream, width=160, clock=lambda: now[0]), stream


def test_without_a_terminal_lines_are_plain() -> None:
    sink, stream = _plain()
    sink(Event("run.started", "budget 4 m", data={"budget": 240}))
    sink(Event("host.read", "2 cores"))
    sink(Event("trial.judged", "ignored text", data={"row": ROW}))
    sink(Event("run.finished", "done", Level.RESULT))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert [line.strip() for line in text.splitlines()][:2] == ["budget 4 m", "2 cores"]
    assert "t02" in text
    assert "×1.31 [1.27, 1.35] screen only" in text
    assert "ignored text" not in text
    assert text.splitlines()[-1] == "done"


def test_details_are_not_printed() -> None:
    sink, stream = _plain()
    sink(Event("pair.done", "pair 7", Level.DETAIL))
    assert stream.getvalue() == ""


def test_nothing_is_drawn_while_blocks_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, stream = _terminal(monkeypatch, [0.0])
    sink(Event("run.started", "go", data={"budget": 100}))
    sink(Event("measuring.started"))
    before = stream.getvalue()
    sink(Event("trial.judged", data={"row": ROW}))
    sink(Event("warning", "noisy", Level.WARNING))
    sink(Event("compose.step", "adding 47"))
    assert stream.getvalue() == before
    sink(Event("measuring.ended"))
    after = stream.getvalue()[len(before) :]
    assert after.index("t02") < after.index("noisy")
    sink.close()


def test_measuring_may_be_nested() -> None:
    sink, stream = _plain()
    sink(Event("measuring.started"))
    sink(Event("measuring.started"))
    sink(Event("warning", "late", Level.WARNING))
    sink(Event("measuring.ended"))
    assert stream.getvalue() == ""
    sink(Event("measuring.ended"))
    assert "late" in stream.getvalue()


def test_an_end_without_a_start_does_not_silence_anything() -> None:
    sink, stream = _plain()
    sink(Event("measuring.ended"))
    sink(Event("measuring.ended"))
    sink(Event("host.read", "2 cores"))
    assert "2 cores" in stream.getvalue()


@pytest.mark.parametrize("end", ["close", "run.finished"])
def test_what_waited_is_shown_when_the_run_ends_in_the_middle(end: str) -> None:
    sink, stream = _plain()
    sink(Event("measuring.started"))
    sink(Event("warning", "worker died", Level.WARNING))
    if end == "close":
        sink.close()
        sink.close()
    else:
        sink(Event("run.finished", "interrupted", Level.RESULT))
    assert stream.getvalue().count("worker died") == 1


def test_the_bar_shows_time_left_step_and_best(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    sink, stream = _terminal(monkeypatch, now)
    sink(Event("run.started", data={"budget": 240}))
    now[0] = 100.0
    sink(Event("best.changed", "29 + 47"))
    sink(Event("compose.step", "adding [38] to the stack"))
    text = stream.getvalue()
    assert "2 m 20 s left" in text
    assert "adding [38] to the stack" in text
    assert "best so far: 29 + 47" in text
    now[0] = 300.0
    sink(Event("confirm.done", "confirmed"))
    assert "finishing" in stream.getvalue()
    sink.close()
    assert stream.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in stream.getvalue()


def test_a_resumed_run_counts_what_was_used_before(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, stream = _terminal(monkeypatch, [0.0])
    sink(Event("run.started", data={"budget": 240, "elapsed": 180.0}))
    sink(Event("host.read", "2 cores"))
    assert "1 m 00 s left" in stream.getvalue()
    sink.close()


@pytest.mark.parametrize("end", ["run.finished", "run.interrupted"])
def test_the_end_of_a_run_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    sink, stream = _terminal(monkeypatch, [0.0])
    sink(Event("run.started", data={"budget": 240}))
    sink(Event("measuring.started"))
    sink(Event(end, "best so far is saved", Level.RESULT))
    text = stream.getvalue()
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h") < text.index("best so far is saved")


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    colour, coloured = _terminal(monkeypatch, [0.0])
    colour(Event("trial.judged", data={"row": ROW}))
    assert "\x1b[32m" in coloured.getvalue()
    sink, stream = _terminal(monkeypatch, [0.0], NO_COLOR="1")
    sink(Event("trial.judged", data={"row": ROW}))
    assert "\x1b[32m" not in stream.getvalue()
    assert "t02" in stream.getvalue()


@pytest.mark.parametrize(
    ("status", "mark"), [("kept", "✓"), ("faster", "✓"), ("slower", "✗"), ("wrong", "✗"), ("no effect", "–")]
)
def test_a_status_has_a_mark_and_its_word(status: str, mark: str) -> None:
    assert f"{mark} {status}" in trial_line({**ROW, "status": status}).plain


def test_a_trial_without_a_ratio_prints_none() -> None:
    line = trial_line(
        {"id": "t03", "recipe": "[bold]31[/bold]", "status": "declined", "reason": "no convolution", "speedup": None}
    )
    assert "×" not in line.plain
    assert "[bold]31[/bold]" in line.plain
    assert "(no convolution)" in line.plain


def test_an_event_without_its_row_does_not_end_the_run() -> None:
    sink, stream = _plain()
    sink(Event("trial.judged"))
    assert stream.getvalue().strip() == "–"


def test_importing_the_sink_does_not_import_rich() -> None:
    code = "import strop.observe.console, sys; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
