"""Names of devices, and whether they are here."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from strop.contract.device import absent, check_device, processor_only
from strop.errors import WorkloadError


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_processor_and_cuda_devices_are_known(device: str) -> None:
    check_device(device)
    assert torch.device(device).type == device.partition(":")[0], "as torch writes it"


@pytest.mark.parametrize("device", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:01", "cuda:0 ", "cpu:0", "mps", None, 0])
def test_anything_else_is_refused_with_what_came(device: Any) -> None:
    with pytest.raises(WorkloadError, match=rf"cpu, cuda or cuda:N, for instance cuda:1; got {device!r}\."):
        check_device(device)


@pytest.mark.parametrize(
    ("device", "count", "told"),
    [
        ("cuda", 1, None),
        ("cuda:1", 2, None),
        ("cuda", 0, "cuda is asked for, and torch finds no CUDA devices here"),
        ("cuda:1", 1, "cuda:1 is asked for, and torch finds 1 CUDA device here"),
        ("cuda:5", 2, "cuda:5 is asked for, and torch finds 2 CUDA devices here"),
    ],
)
def test_what_torch_does_not_find_is_absent(device: str, count: int, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert absent(device) == told


def test_the_processor_is_always_there_and_torch_is_not_asked() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\nfrom strop.contract.device import absent\nsys.exit(absent('cpu') is not None)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_only_processors_can_do_is_declined_elsewhere_in_words() -> None:
    assert processor_only("openvino", "cpu") is None
    assert processor_only("openvino", "cuda:1") == "openvino runs on the processor, and this workload is on cuda:1"
