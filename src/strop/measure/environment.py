"""What a run's record says about the machine and the software: enough to explain a number, nothing that names a person."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strop.measure.clock import resolution_ns, usable_cpus
from strop.measure.host import cache_sizes, cpu_fields, cpu_name, system_text, usable_cores, usable_memory

LIBRARIES = (
    "strop", "torch", "numpy", "scipy", "safetensors", "onnx", "onnxruntime", "onnxscript", "openvino", "nncf", "transformers",
    "torchvision", "timm", "tensorrt", "executorch", "triton", "mkl", "intel-openmp", "nvidia-cublas-cu12", "nvidia-cudnn-cu12",
)  # fmt: skip
"""Distributions whose versions are recorded; absent ones are left out."""

_VARIABLES = re.compile(
    r"^(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|TORCH|TORCHINDUCTOR|PYTORCH|ATEN|DNNL|ONEDNN|ORT|OPENVINO|OV|CUDA|NVIDIA_TF32|NCCL"
    r"|TRITON|MALLOC|LD_PRELOAD|PYTHONHASHSEED|PYTHONMALLOC)(_|$)"
)
_PATH = re.compile(r"(?<![\w.])~?(/[^\n/:;,=]+)+/?")
_REGIONS = re.compile(r"(mkl|openblas|blis|gomp|iomp|omp5|dnnl|tbb|tcmalloc|jemalloc|mimalloc)[\w.-]*\.so[\w.]*", re.IGNORECASE)


def read_environment(*, root: Path = Path("/"), project: Path | None = None) -> dict[str, Any]:
    """Return a JSON-able record of processor, kernel, limits, libraries and settings.

    Names of users, hosts and folders are left out: paths inside variables keep only their last part.

    Args:
        root: of the file system that ``proc`` and ``sys`` are read from.
        project: a folder whose git state is recorded, if it is one.
    """
    return {
        "processor": _processor(root),
        "kernel": _kernel(root),
        "limits": {"cores": usable_cores(root), "memory_bytes": usable_memory(root)},
        "load": _load(root),
        "accelerators": _accelerators(root),
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "libraries": library_versions(),
        "packages": installed_packages(),
        "loaded": _loaded_libraries(root),
        "variables": tuning_variables(os.environ),
        "clock_resolution_ns": resolution_ns(),
        "git": _git(project) if project is not None else None,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def library_versions() -> dict[str, str]:
    """Return distribution → version for the installed ones of :data:`LIBRARIES`."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def installed_packages() -> list[str]:
    """Return ``name==version`` of every installed distribution, sorted."""
    found = {(d.metadata["Name"] or "", d.version) for d in importlib.metadata.distributions()}
    return sorted(f"{name}=={version}" for name, version in found if name)


def tuning_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that steer threads, allocators, compilers and devices, with folders cut off their paths."""
    return {name: without_paths(value) for name, value in sorted(environment.items()) if _VARIABLES.match(name)}


def without_paths(text: str) -> str:
    """Replace each absolute or home path in ``text`` by its last part."""
    return _PATH.sub(lambda match: ".../" + match[0].rstrip("/").rpartition("/")[2], text)


def _processor(root: Path) -> dict[str, Any]:
    fields, first = cpu_fields(root), root / "sys/devices/system/cpu"
    return {
        "model": cpu_name(fields),
        "microcode": fields.get("microcode", ""),
        "flags": sorted(fields.get("flags", fields.get("Features", "")).split()),
        "usable": len(usable_cpus()),
        "online": os.cpu_count() or 1,
        "threads_per_core": _threads_per_core(first / "cpu0/topology/thread_siblings_list"),
        "numa_nodes": len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or 1,
        "caches": {str(level): size for level, size in cache_sizes(root).items()},
        "governor": system_text(first / "cpu0/cpufreq/scaling_governor"),
        "mhz": fields.get("cpu MHz", ""),
        "turbo_off": system_text(first / "intel_pstate/no_turbo"),
        "hypervisor": "hypervisor" in fields.get("flags", "").split(),
    }


def _kernel(root: Path) -> dict[str, str]:
    return {
        "release": platform.release(),
        "transparent_huge_pages": system_text(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        "address_randomisation": system_text(root / "proc/sys/kernel/randomize_va_space"),
        "swappiness": system_text(root / "proc/sys/vm/swappiness"),
    }


def _load(root: Path) -> dict[str, str]:
    return {
        "average": " ".join(system_text(root / "proc/loadavg").split()[:3]),
        "pressure": system_text(root / "proc/pressure/cpu"),
    }


def _accelerators(root: Path) -> list[dict[str, str]]:
    """Read what the NVIDIA driver says about itself, without importing a framework or running anything."""
    driver = system_text(root / "proc/driver/nvidia/version").partition("\n")[0]
    cards = []
    for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        rows = dict(line.partition(":")[::2] for line in system_text(file).splitlines())
        cards.append({"model": rows.get("Model", "").strip(), "driver": driver})
    return cards


def _loaded_libraries(root: Path) -> list[str]:
    """Return the file names of numerical and threading libraries that are mapped into this process."""
    return sorted({match[0] for match in _REGIONS.finditer(system_text(root / "proc/self/maps"))})


def _threads_per_core(siblings: Path) -> int:
    count = 0
    for part in system_text(siblings).split(","):
        low, _, high = part.partition("-")
        count += int(high or low) - int(low) + 1 if low else 0
    return max(count, 1)


def _git(folder: Path) -> dict[str, Any] | None:
    """Return commit and whether files differ from it; ``None`` outside a repository or without git."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        answers = [
            subprocess.run(
                [git, "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": answers[0], "modified": bool(answers[1])}
