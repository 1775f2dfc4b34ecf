"""Roofs: what is counted, what is left out, and that they run as arms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strop.errors import TargetError
from strop.measure.arm import Arm
from strop.measure.roofline import RoofTarget, _best, measure_roofs, roof_spec, streaming_bytes, work
from strop.measure.target import Target


def test_work_is_counted_by_the_stated_convention() -> None:
    assert work("gemm_float32_512") == 2 * 512**3
    assert work("gemm_int8_1024") == 2 * 1024**3
    assert work("read_1000") == 1000
    assert work("copy_1000") == 2000


def test_the_stream_does_not_fit_into_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.measure.roofline.cache_sizes", lambda: {1: 32 << 10, 3: 64 << 20})
    monkeypatch.setattr("strop.measure.roofline.usable_memory", lambda: 64 << 30)
    assert streaming_bytes() == 256 << 20
    monkeypatch.setattr("strop.measure.roofline.usable_memory", lambda: 1 << 30)
    assert streaming_bytes() == 128 << 20
    monkeypatch.setattr("strop.measure.roofline.cache_sizes", dict)
    assert streaming_bytes() == 128 << 20


def test_kernels_do_the_work_they_are_counted_for() -> None:
    import torch

    roofs = RoofTarget(["gemm_float32_32", "gemm_bfloat16_32", "gemm_int8_32", "read_4096", "copy_4096"])
    assert isinstance(roofs, Target)
    assert [roofs.shapes(point, 0) for point in roofs.points] == [[[32, 32]], [[32, 32]], [[32, 32]], [[]], [[1024]]]
    roofs.run("read_4096", 0)
    assert roofs._answer.item() == 1024.0
    roofs.run("gemm_int8_32", 0)
    assert roofs._answer.dtype is torch.int32
    assert roofs.digest("copy_4096", 0) == roofs.digest("copy_4096", 0)
    with pytest.raises(ValueError, match="unknown roof"):
        roofs._kernel("write_4096")
    with pytest.raises(ValueError, match="no method"):
        roofs.call("x", {})
    roofs.close()


def test_roofs_are_measured_in_one_bounded_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.measure.roofline.SIZES", (64, 128))
    monkeypatch.setattr("strop.measure.roofline.streaming_bytes", lambda: 8 << 20)
    roofs = measure_roofs(seed=1, folder=tmp_path, seconds=0.3, also_read=1 << 20, dtypes=("float32",))
    assert set(roofs) == {"gemm_float32", "read", "copy", f"read_{1 << 20}"}
    assert all(np.isfinite(rate) and rate > 1e6 for rate in roofs.values())


def test_a_build_that_cannot_multiply_a_type_leaves_its_roof_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def __enter__(self) -> "Refusing":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def load(self) -> None:
            pass

    def rate(arm: Refusing, point: str, seconds: float) -> float:
        if "int8" in point or (arm.kind == "MemoryError" and point.startswith("read")):
            raise TargetError("arm", arm.kind, "not implemented", "")
        return 5.0

    monkeypatch.setattr("strop.measure.roofline._rate", rate)
    monkeypatch.setattr(Arm, "start", lambda spec, seed, log: Refusing("RuntimeError"))
    assert set(measure_roofs(seed=1, folder=tmp_path)) == {"gemm_float32", "gemm_bfloat16", "read", "copy"}
    monkeypatch.setattr(Arm, "start", lambda spec, seed, log: Refusing("MemoryError"))
    with pytest.raises(TargetError, match="not implemented"):
        measure_roofs(seed=1, folder=tmp_path)


def test_looks_are_spread_so_that_a_disturbance_does_not_lower_a_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work takes the whole first look at what is best, and at all of the memory."""
    truth = {"gemm_float32_512": 207.0, "gemm_float32_1024": 199.0, "read_8": 35.0}
    looks: list[tuple[str, float]] = []

    def rate(arm: object, point: str, seconds: float) -> float:
        looks.append((point, seconds))
        disturbed = len([seen for seen, _ in looks if seen == point]) == 1
        return truth[point] * (0.97 if point.endswith("512") and disturbed else 0.2 if disturbed else 1.0)

    monkeypatch.setattr("strop.measure.roofline._rate", rate)
    arm: Any = None
    roofs = _best(arm, {"gemm_float32": ["gemm_float32_512", "gemm_float32_1024"], "read": ["read_8"]}, 1.5)
    assert roofs == {"gemm_float32": 207.0, "read": 35.0}
    assert sum(seconds for _, seconds in looks) == pytest.approx(1.5)
    assert [point for point, _ in looks[3:]] == ["gemm_float32_512", "read_8"] * 3, "only the best size again, and in turns"


def test_a_roof_is_an_arm_like_any_other() -> None:
    spec = roof_spec(["read_4096"], threads=1)
    assert spec.target == "strop.measure.roofline:roof_target"
    assert spec.arguments == {"points": ["read_4096"], "threads": 1}
