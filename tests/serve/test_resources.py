"""What the process uses, against the process itself and against planted control groups."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

from strop.serve.resources import free_memory, read_resources

SIZE = 64 << 20

MEMINFO = "MemTotal: 8000 kB\nMemFree: 1000 kB\nMemAvailable:  4000 kB\n"


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_reading_follows_the_process() -> None:
    before = read_resources()
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    held = mmap.mmap(-1, SIZE)  # pages of its own: an array might lie in memory that was freed before
    held.write(b"x" * SIZE)
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    during = read_resources()
    for file in files:
        os.close(file)
    stop.set()
    for thread in threads:
        thread.join()
    assert during.descriptors == before.descriptors + 5 and during.threads == before.threads + 3
    assert during.resident > before.resident + (SIZE >> 1)
    assert during.cpu >= before.cpu and during.started == before.started
    assert 0 < during.headroom < 1 and during.free < during.total
    assert during.descriptors_allowed > during.descriptors


def test_without_limits_the_machine_s_memory_counts(tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, "", {})) == 4000 * 1024
    assert free_memory(machine(tmp_path, "0::/box\n", {"sys/fs/cgroup/box/memory.max": "max"})) == 4000 * 1024


def test_the_tightest_control_group_of_either_version_counts(tmp_path: Path) -> None:
    two = {
        "sys/fs/cgroup/box/memory.max": "1000000", "sys/fs/cgroup/box/memory.current": "900000",
        "sys/fs/cgroup/box/memory.stat": "anon 5\ninactive_file 50000\n",
    }  # fmt: skip
    assert free_memory(machine(tmp_path / "2", "0::/box\n", two)) == 150000, "cached pages can be given back"
    one = {
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "500000", "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "600000",
    }  # fmt: skip
    assert free_memory(machine(tmp_path / "1", "4:memory:/box\n", one)) == 0, "never below nothing"
