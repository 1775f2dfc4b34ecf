"""``strop serve`` with a program whose calls take a planted time: ``python planted_server.py FIXED EACH LIFE BUNDLE OPTIONS…``.

A call sleeps ``FIXED + EACH * rows`` seconds; after ``LIFE`` calls (0: never) the process kills itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from strop.api import warm
from strop.cli import main
from strop.contract.engine import Program


class Planted(Program):
    """Doubles what it is given, in its own time."""

    def __init__(self, fixed: float, each: float, life: int) -> None:
        self.fixed, self.each, self.life, self.calls = fixed, each, life, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer."""
        self.calls += 1
        if self.life and self.calls > self.life:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.fixed + self.each * len(args[0]))
        return args[0] * 2


if __name__ == "__main__":
    fixed, each, life = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    warm._open = lambda folder, workload, trust: Planted(fixed, each, life)
    warm.recorded_seeds = lambda latency: []  # they are of the bundle's own model
    sys.exit(main(["serve", *sys.argv[4:]]))
