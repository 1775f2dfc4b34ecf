"""The process of a worker, spoken to as its parent does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from strop.measure.wire import receive_frame, send_frame
from strop.serve.arena import Arena
from tests.serve.faulty import FACTORY


def test_it_opens_answers_tells_errors_and_leaves_when_the_pipe_is_closed() -> None:
    inputs, answers = Arena(), Arena()
    (their_read, write), (read, their_write) = os.pipe(), os.pipe()
    fds = (their_read, their_write, inputs.fd, answers.fd)
    arguments = [sys.executable, "-m", "strop.serve.worker", *map(str, (*fds, os.getpid()))]
    process = subprocess.Popen(arguments, pass_fds=fds)
    os.close(their_read)
    os.close(their_write)

    def ask(message: Any) -> Any:
        send_frame(write, json.dumps(message).encode())
        frame = receive_frame(read)
        assert frame is not None
        return json.loads(frame)

    try:
        assert ask({"factory": FACTORY, "arguments": {}}) == {"seeds": [{"width": 4, "rows": 1, "seconds": 2e-3}]}
        reply = ask(inputs.write([np.ones((3, 4), np.float32)]))
        assert answers.read(reply["places"])[0].tolist() == [[2.0] * 4] * 3
        assert ask([["<f4", [1 << 40, 4], 0]])["error"] == "ArenaError"
        assert ask([])["error"] == "IndexError", "whatever is wrong with a batch ends no worker"
        os.close(write)
        assert receive_frame(read) is None
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)
        inputs.close()
        answers.close()


def test_it_leaves_at_once_when_it_does_not_belong_to_who_started_it() -> None:
    inputs, answers = Arena(), Arena()
    (their_read, write), (read, their_write) = os.pipe(), os.pipe()
    fds = (their_read, their_write, inputs.fd, answers.fd)
    process = subprocess.Popen([sys.executable, "-m", "strop.serve.worker", *map(str, (*fds, 1))], pass_fds=fds)
    assert process.wait(20) == 1, "its parent has gone before it could ask to die with it"
    for fd in (*fds[:2], write, read):
        os.close(fd)
    inputs.close()
    answers.close()
