"""The record of the surroundings: complete enough to explain a number, and silent about persons and folders."""

import getpass
import json
import os
import platform
import socket
import subprocess
from pathlib import Path

import numpy
import pytest

from strop.measure.environment import installed_packages, library_versions, read_environment, tuning_variables, without_paths


def test_it_is_json_and_holds_every_part() -> None:
    record = read_environment()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == {
        "processor", "kernel", "limits", "load", "accelerators", "python", "libraries", "packages", "loaded", "variables",
        "clock_resolution_ns", "git", "at",
    }  # fmt: skip
    assert {"microcode", "flags", "threads_per_core", "numa_nodes", "governor", "turbo_off", "hypervisor"} <= set(
        record["processor"]
    )
    assert {"transparent_huge_pages", "address_randomisation"} <= set(record["kernel"])
    assert record["python"]["version"] == platform.python_version()
    assert record["limits"]["cores"] >= 1


def test_it_names_no_person_host_or_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", "/home/someone/stuff/torch")
    monkeypatch.setenv("OMP_TOOL_LIBRARIES", "/opt/secret place/a.so:/srv/team/b.so")
    text = json.dumps(read_environment(project=tmp_path))
    for word in ("someone", "stuff", "secret", "team", str(Path.home()), str(Path.cwd()), str(tmp_path)):
        assert word not in text, word
    for word in (socket.gethostname(), getpass.getuser()):
        assert f'"{word}"' not in text


def test_variables_that_steer_speed_are_recorded_and_others_are_not() -> None:
    steering = {
        "OMP_NUM_THREADS": "4", "KMP_BLOCKTIME": "0", "MKL_NUM_THREADS": "2", "TORCH_LOGS": "x", "TORCHINDUCTOR_FREEZING": "1",
        "PYTHONHASHSEED": "7", "MALLOC_ARENA_MAX": "2", "CUDA_VISIBLE_DEVICES": "0", "OPENBLAS_CORETYPE": "Haswell",
        "NVIDIA_TF32_OVERRIDE": "1",
    }  # fmt: skip
    others = {"HOME": "/home/x", "USER": "x", "AWS_SECRET_ACCESS_KEY": "k", "OMPHALOS": "1", "PATH": "/bin", "TOKEN": "t"}
    others |= {"NVIDIA_REQUIRE_CUDA": "what a container asks of its host, a page long"}
    assert tuning_variables({**steering, **others}) == dict(sorted(steering.items()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("granularity=fine,compact,1,0", "granularity=fine,compact,1,0"),
        ("/usr/lib/libtcmalloc.so.4", ".../libtcmalloc.so.4"),
        ("/a/b.so:/c/d.so", ".../b.so:.../d.so"),
        ("dir=/home/u/x/,rest", "dir=.../x,rest"),
        ("~/caches/y", ".../y"),
        ("3/4", "3/4"),
        ("", ""),
    ],
)
def test_paths_keep_their_last_part_only(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_versions_come_from_what_is_installed() -> None:
    versions = library_versions()
    assert versions["numpy"] == numpy.__version__
    assert "executorch" not in versions or versions["executorch"]
    assert f"numpy=={numpy.__version__}" in installed_packages()
    assert installed_packages() == sorted(installed_packages())


def test_loaded_libraries_are_named_without_folders(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    rows = ["7f00 r-xp /usr/lib/x/libgomp-a34b3233.so.1.0.0", "7f01 r--p /opt/y/libmkl_core.so.2", "7f02 r--p /lib/libc.so.6"]
    (tmp_path / "proc/self/maps").write_text("\n".join(rows))
    assert read_environment(root=tmp_path)["loaded"] == ["gomp-a34b3233.so.1.0.0", "mkl_core.so.2"]


def test_hyper_threads_and_nodes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sys/devices/system/cpu/cpu0/topology").mkdir(parents=True)
    siblings = tmp_path / "sys/devices/system/cpu/cpu0/topology/thread_siblings_list"
    for text, threads in (("0-1", 2), ("0,32", 2), ("0", 1), ("0-3", 4)):
        siblings.write_text(text + "\n")
        assert read_environment(root=tmp_path)["processor"]["threads_per_core"] == threads
    for node in range(2):
        (tmp_path / f"sys/devices/system/node/node{node}").mkdir(parents=True)
    assert read_environment(root=tmp_path)["processor"]["numa_nodes"] == 2


def test_the_drivers_word_on_accelerators(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia/gpus/0000").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: 600.1\nGCC version: 13\n")
    (tmp_path / "proc/driver/nvidia/gpus/0000/information").write_text("Model: \t NVIDIA Z1\nIRQ: 5\nGPU UUID: \t GPU-1234\n")
    assert read_environment(root=tmp_path)["accelerators"] == [{"model": "NVIDIA Z1", "driver": "NVRM version: 600.1"}]


def test_the_state_of_a_repository(tmp_path: Path) -> None:
    assert read_environment(project=tmp_path)["git"] is None
    settings = ["-c", "user.name=a", "-c", "user.email=a@b"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], [*settings, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, env=clean)
    told = read_environment(project=tmp_path)["git"]
    assert len(told["commit"]) == 40
    assert told["modified"] is False
    (tmp_path / "file").write_text("two")
    assert read_environment(project=tmp_path)["git"]["modified"] is True
