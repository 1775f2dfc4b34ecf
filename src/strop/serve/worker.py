"""The process of an isolated worker: ``python -m strop.serve.worker``. Opens a program, then answers one batch after another.

It is told what to do in frames of JSON over a pipe; arrays lie in memory shared with the parent. It imports nothing heavy
before what it opens does, and ends when its parent does, however the parent ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from strop.contract.pytree import flatten, to_numpy, unflatten
from strop.measure.orphan import die_with
from strop.measure.wire import receive_frame, send_frame
from strop.serve.arena import Arena
from strop.serve.opened import Opened
from strop.serve.priority import give_way

SACRIFICE = 500
"""Added to the badness by which the kernel chooses whom to kill when memory runs out: a worker, and not the server."""


def main(arguments: Sequence[str]) -> int:
    """Open what the first frame names and answer batches until the parent closes the pipe or is gone.

    Args:
        arguments: five numbers: the descriptors to read from and to write to, those of the memory for inputs and for
            answers, and the parent whose death is this process's death.
    """
    read_fd, write_fd, inputs_fd, answers_fd, parent = map(int, arguments)
    die_with(parent)
    give_way()
    faulthandler.enable()
    for fd in (read_fd, write_fd, inputs_fd, answers_fd):
        os.set_inheritable(fd, False)
    with contextlib.suppress(OSError):  # a preference, which some systems do not let a process have
        Path("/proc/self/oom_score_adj").write_text(str(SACRIFICE), encoding="ascii")
    frame = receive_frame(read_fd)
    if frame is None:
        return 0
    try:
        opened = _open(**json.loads(frame))
    except Exception as error:  # noqa: BLE001 - whoever started this process decides what it means
        send_frame(write_fd, _failure(error))
        return 1
    send_frame(write_fd, json.dumps({"seeds": [asdict(seed) for seed in opened.seeds]}).encode())
    inputs, answers = Arena(inputs_fd), Arena(answers_fd)
    while (frame := receive_frame(read_fd)) is not None:
        try:
            args, kwargs = unflatten(opened.signature.input_tree, inputs.read(json.loads(frame)))
            leaves = [to_numpy(leaf) for leaf in flatten(opened.program(*args, **kwargs))[0]]
            reply = json.dumps({"places": answers.write(leaves)}).encode()
        except Exception as error:  # noqa: BLE001 - engines raise anything; the parent tells whoever waits
            reply = _failure(error)
        send_frame(write_fd, reply)
    opened.program.close()
    return 0


def _open(factory: str, arguments: Mapping[str, Any]) -> Opened:
    module, _, function = factory.partition(":")
    opened: Opened = getattr(importlib.import_module(module), function)(**arguments)
    return opened


def _failure(error: Exception) -> bytes:
    return json.dumps({"error": type(error).__name__, "message": str(error)}).encode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
