"""A process that does not outlive the one it works for."""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however it ends (``prctl(2)``); leave if it has ended already.

    The signal follows the *thread* that started this process, so that thread must not end before the work is done.

    Args:
        parent: process number, told by the parent itself: by the time one asks, another may have taken its place.
    """
    import ctypes  # late, because it costs start-up time

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
