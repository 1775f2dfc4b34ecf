"""The worker's side of the conversation, in this process and over real pipes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from strop.measure.wire import Channel, receive_frame, send_frame
from strop.measure.worker import Worker, serve

TINY = "strop.testing.tiny:tiny"


@pytest.fixture
def worker() -> Worker:
    built = Worker(interpreter_up_ns=1)
    built.on_load(TINY, {"points": {"small": 4, "large": 2}})
    return built


def converse(requests: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Let ``serve`` answer requests over pipes, in a thread of its own."""
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()
    code: list[int] = []
    thread = threading.Thread(target=lambda: code.append(serve(Worker(1), request_read, reply_write)))
    thread.start()
    answers = []
    for request in requests:
        send_frame(request_write, json.dumps({"arguments": {}, **request}).encode())
        answers.append(json.loads(receive_frame(reply_read) or b"{}"))
    os.close(request_write)
    thread.join()
    for fd in (request_read, reply_read, reply_write):
        os.close(fd)
    return answers, code[0]


def test_loading_tells_points_abilities_and_marks_in_order() -> None:
    told = Worker(interpreter_up_ns=1).on_load(TINY, {"points": {"a": 3}})
    assert told["points"] == {"a": 3}
    assert set(told["offers"]) == {"answer_digest", "run_variant"}
    marks = [told["marks"][name] for name in ("interpreter_up", "imported", "loaded", "first_output")]
    assert marks == sorted(marks)
    assert len(told["marks"]) == 4


@pytest.mark.parametrize("points", [{}, {"a": 0}])
def test_a_target_without_inputs_is_refused(points: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "strop.testing.tiny.TinyTarget.points", property(lambda self: points, lambda self, value: None), raising=False
    )
    with pytest.raises(ValueError, match="at least one input"):
        Worker(1).on_load(TINY, {})


def test_a_request_before_loading_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no target"):
        Worker(1).on_digest("a", 0)


def test_a_block_answers_the_timed_calls_only(worker: Worker) -> None:
    told = worker.on_block("small", [0, 1, 2, 3, 0], 2)
    assert len(told["calls_ns"]) == 3
    assert min(told["calls_ns"]) > 0
    assert told["switches"] >= 0


def test_warming_reports_every_point(worker: Worker) -> None:
    rule = {"min_calls": 3, "min_seconds": 0.0, "window": 4, "tolerance": 0.5, "max_calls": 40, "max_seconds": 2.0}
    told = worker.on_warm(["small", "large"], rule)
    assert set(told) == {"small", "large"}
    assert all(report["calls"] >= 3 for report in told.values())


def test_answers_about_answers(worker: Worker) -> None:
    assert worker.on_digest("small", 1) == worker.on_digest("small", 1) != worker.on_digest("small", 2)
    worker.on_block("small", [2, 1], 0)
    assert worker.on_answer_digest() == worker.on_digest("small", 1)
    assert worker.on_shapes("large", 0) == [[128, 64]]
    assert len(worker.on_variants("small", 0, [1, 2, 3])) == 3
    assert worker.on_call("hello", {"a": 1})["arguments"] == {"a": 1}
    assert worker.on_stats()["threads"] >= 1


def test_errors_are_answers_and_the_worker_lives_on() -> None:
    answers, code = converse(
        [
            {"request": "load", "arguments": {"target": "no.such.module:thing", "arguments": {}}},
            {"request": "load", "arguments": {"target": TINY, "arguments": {"plant": "raise", "after": 1}}},
            {"request": "digest", "arguments": {"point": "tiny", "index": 0}},
            {"request": "digest", "arguments": {"point": "elsewhere", "index": 0}},
            {"request": "no_such_request"},
            {"request": "stats"},
        ]
    )
    assert [answer.get("error", {}).get("type") for answer in answers[:5]] == [
        "ModuleNotFoundError",
        None,
        "ValueError",
        "ValueError",
        "AttributeError",
    ]
    assert "planted error" in answers[2]["error"]["message"]
    assert "_misbehave" in answers[2]["error"]["trace"]
    assert "ok" in answers[5]
    assert code == 0


def test_a_target_that_leaves_the_interpreter_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.testing.tiny.TinyTarget.call", lambda *_: sys.exit("enough"))
    load = {"request": "load", "arguments": {"target": TINY, "arguments": {}}}
    answers, _ = converse([load, {"request": "call", "arguments": {"method": "x", "arguments": {}}}])
    assert answers[1]["error"]["type"] == "SystemExit"


def test_an_answer_that_is_no_json_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.testing.tiny.TinyTarget.call", lambda *_: {1, 2})
    load = {"request": "load", "arguments": {"target": TINY, "arguments": {}}}
    answers, _ = converse([load, {"request": "call", "arguments": {"method": "x", "arguments": {}}}, {"request": "stats"}])
    assert answers[1]["error"]["type"] == "TypeError"
    assert "ok" in answers[2]


def test_exit_closes_the_target_and_ends() -> None:
    answers, code = converse([{"request": "load", "arguments": {"target": TINY, "arguments": {}}}, {"request": "exit"}])
    assert answers[1] == {"ok": None}
    assert code == 0


def spawn(parent: int, use: Callable[[subprocess.Popen[bytes], Channel], None]) -> int:
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()
    command = [sys.executable, "-m", "strop.measure.worker", str(request_read), str(reply_write), "0", str(parent)]
    process = subprocess.Popen(command, pass_fds=(request_read, reply_write))
    os.close(request_read)
    os.close(reply_write)
    channel = Channel(reply_read, request_write, lambda: process.poll() is None)
    use(process, channel)
    channel.close()
    return process.wait(timeout=30)


def test_the_process_ends_when_the_parent_hangs_up() -> None:
    assert spawn(0, lambda process, channel: None) == 0


def test_the_process_ends_at_once_when_its_parent_died_before_it_could_watch() -> None:
    assert spawn(1, lambda process, channel: None) == 1


def test_starting_a_worker_imports_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "scipy", "argparse", "statistics")
    code = f"import sys, strop.measure.worker; print(*[m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
