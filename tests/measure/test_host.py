"""What the machine has, read from a made-up file system and from the real one."""

import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from strop.measure.host import (
    Host,
    cache_sizes,
    control_groups,
    cpu_name,
    free_memory,
    read_host,
    system_text,
    usable_cores,
    usable_memory,
)


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


CPU = """processor : 0
cpu family\t: 25
model\t\t: 17
model name\t: Fast CPU 9000
flags\t\t: fpu AVX2 avx512f avx512_vnni

processor : 1
model name\t: Other CPU
flags\t\t: fpu
"""
CACHE = "sys/devices/system/cpu/cpu0/cache"
MEMINFO = "MemTotal:       16000000 kB\nMemFree: 5 kB\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("strop.measure.host.usable_cpus", lambda: frozenset(range(8)))
    files = {"proc/cpuinfo": CPU, "proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/job/step\n"}
    for number, (level, kind, size) in enumerate(
        [(1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "1024K"), (3, "Unified", "32M")]
    ):
        files |= {
            f"{CACHE}/index{number}/{key}": f"{value}\n" for key, value in (("level", level), ("type", kind), ("size", size))
        }
    return lay(tmp_path, files)


def test_a_processor_without_numbers_keeps_its_name() -> None:
    assert cpu_name({"model name": "Fast CPU 9000"}) == "Fast CPU 9000"
    assert cpu_name({}) == platform.machine()


def test_a_profile_is_read_from_the_kernels_files(machine: Path) -> None:
    host = read_host(root=machine)
    assert host.cpu == "Fast CPU 9000 (family 25, model 17)"
    assert host.isa == {"fpu", "avx2", "avx512f", "avx512_vnni"}
    assert (host.cores, host.l2_bytes, host.l3_bytes) == (8, 1 << 20, 32 << 20)
    assert host.memory_bytes == 16_000_000 * 1024
    assert host.accelerators == ()
    assert host.roofs == {}


def test_instruction_caches_are_no_caches_for_data(machine: Path) -> None:
    assert cache_sizes(machine) == {1: 48 << 10, 2: 1 << 20, 3: 32 << 20}


def test_a_machine_without_a_third_level_has_its_second_as_the_last(machine: Path) -> None:
    (machine / CACHE / "index3/size").unlink()
    assert read_host(root=machine).l3_bytes == 1 << 20


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"job/step/cpu.max": "max 100000"}, 8),
        ({"job/step/cpu.max": "250000 100000"}, 3),
        ({"job/step/cpu.max": "max 100000", "job/cpu.max": "50000 100000"}, 1),
        ({"job/step/cpu.max": "9900000 100000"}, 8),
    ],
)
def test_a_processor_quota_of_any_level_counts(machine: Path, limits: dict[str, str], cores: int) -> None:
    lay(machine, {f"sys/fs/cgroup/{name}": text for name, text in limits.items()})
    assert usable_cores(machine) == cores


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"job/step/memory.max": "max"}, 16_000_000 * 1024),
        ({"job/step/memory.max": "2147483648"}, 2 << 30),
        ({"job/step/memory.max": "max", "job/memory.max": "1073741824"}, 1 << 30),
        ({"job/step/memory.max": "99999999999999"}, 16_000_000 * 1024),
    ],
)
def test_the_tightest_memory_limit_counts(machine: Path, limits: dict[str, str], expected: int) -> None:
    lay(machine, {f"sys/fs/cgroup/{name}": text for name, text in limits.items()})
    assert usable_memory(machine) == expected


def test_limits_of_the_first_version_of_control_groups(machine: Path) -> None:
    lay(
        machine,
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "3221225472\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        },
    )
    assert usable_memory(machine) == 3 << 30
    assert usable_cores(machine) == 2


def test_control_groups_are_listed_from_the_inside_out_and_stay_in_their_tree(machine: Path) -> None:
    lay(machine, {"sys/fs/cgroup/job/step/cpu.max": "max 1", "sys/fs/other": ""})
    top = machine / "sys/fs/cgroup"
    assert control_groups("cpu", machine) == [top / "job/step", top / "job", top]


def test_a_system_without_these_files_is_still_described(tmp_path: Path) -> None:
    host = read_host(root=tmp_path)
    assert host.cpu
    assert host.cores >= 1
    assert host.memory_bytes > 1 << 20
    assert host.isa == frozenset()


def test_the_real_machine() -> None:
    host = read_host()
    assert 1 <= host.cores <= len(os.sched_getaffinity(0))
    assert host.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert host.cpu


def test_processes_are_bounded_by_memory_unless_it_is_unknown_or_an_accelerator_reserves_addresses() -> None:
    plain = Host(cpu="a test CPU", cores=2, memory_bytes=1 << 33)
    assert plain.address_limit is not None and 1 << 33 <= plain.address_limit <= 1 << 34
    assert replace(plain, accelerators=("a GPU",)).address_limit is None
    assert replace(plain, memory_bytes=0).address_limit is None


def test_accelerators_are_asked_for_only_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.measure.host._accelerators", lambda: ("Card",))
    assert read_host().accelerators == ()
    assert read_host(accelerators=True).accelerators == ("Card",)


def test_missing_text_is_empty(tmp_path: Path) -> None:
    assert system_text(tmp_path / "nothing") == ""
    assert system_text(lay(tmp_path, {"a": " x \n"}) / "a") == "x"


def test_free_memory_is_the_least_share_that_anybody_leaves(machine: Path) -> None:
    lay(machine, {"proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\n"})
    assert free_memory(machine) == 0.6
    lay(
        machine,
        {
            "sys/fs/cgroup/job/memory.max": "1000",
            "sys/fs/cgroup/job/memory.current": "900",
            "sys/fs/cgroup/job/memory.stat": "anon 500\ninactive_file 300\n",
        },
    )
    assert free_memory(machine) == pytest.approx(0.4), "cached files are given back when memory is asked for"


def test_free_memory_of_an_unknown_machine_is_all(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == 1.0
