"""Peaks: of fresh processes, and of tensors to the byte."""

from pathlib import Path

import pytest

from strop.errors import MeasureError
from strop.measure.arm import ArmSpec
from strop.measure.memory import read_peak, read_peaks, tensor_held, tensor_peak
from strop.measure.peaks import process_peaks
from strop.measure.result import Verdict

MIB = 1 << 20


def spec(name: str, **arguments: object) -> ArmSpec:
    return ArmSpec(name=name, target="strop.testing.tiny:tiny", arguments=arguments, environment={"OPENBLAS_NUM_THREADS": "1"})


def test_memory_planted_in_the_calls_shows_in_the_steady_peak_only(tmp_path: Path) -> None:
    plain = read_peak(spec("baseline"), seed=1, log=tmp_path / "a.log")
    planted = read_peak(spec("candidate", plant="memory", plant_bytes=64 * MIB), seed=1, log=tmp_path / "b.log")
    assert abs(planted.load - plain.load) < 3 * MIB
    assert abs(planted.steady - plain.steady - 64 * MIB) < 3 * MIB
    assert planted.to_json()["steady"] == planted.steady
    assert planted.anonymous < planted.steady


def test_memory_planted_in_loading_shows_in_the_load_peak_only(tmp_path: Path) -> None:
    plain = read_peak(spec("baseline"), seed=1, log=tmp_path / "a.log")
    planted = read_peak(spec("candidate", load_bytes=64 * MIB), seed=1, log=tmp_path / "b.log")
    # What is made later in loading (inputs, buffers of the matrix library) is not held at the same time as the plant.
    assert abs(planted.load - plain.load - 64 * MIB) < 8 * MIB
    assert abs(planted.steady - plain.steady) < 3 * MIB


def test_five_fresh_processes_of_each_arm_decide(tmp_path: Path) -> None:
    hungry, lean = spec("baseline", plant="memory", plant_bytes=16 * MIB), spec("candidate")
    before, after = read_peaks(hungry, lean, seed=3, folder=tmp_path, calls=4)
    assert len(before) == len(after) == 5
    verdict, ratio = process_peaks([r.steady for r in before], [r.steady for r in after])
    assert verdict is Verdict.FASTER  # to be read as smaller
    assert ratio.low > 1
    assert len(list(tmp_path.glob("memory-*.log"))) == 10


def test_the_order_of_the_processes_is_drawn_and_repeats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def orders(seed: int) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        monkeypatch.setattr("strop.measure.memory.read_peak", lambda arm, **more: seen.append((arm.name, more["seed"])))
        read_peaks(spec("baseline"), spec("candidate"), seed=seed, folder=tmp_path)
        return seen

    first = orders(1)
    assert first == orders(1) != orders(2)
    assert len({seed for _, seed in first}) == 10, "every process gets its own seed"
    names = [name for name, _ in first]
    assert names not in (["baseline", "candidate"] * 5, ["baseline"] * 5 + ["candidate"] * 5)


def test_two_arms_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="both arms are called 'baseline'"):
        read_peaks(spec("baseline"), spec("baseline"), seed=1, folder=tmp_path)


def test_the_tensor_peak_is_exact_and_repeats() -> None:
    import torch

    x = torch.ones(256, 1024)

    def plain() -> object:
        return x.exp()

    def planted() -> object:
        y = x.exp()
        torch.empty(64 * MIB, dtype=torch.uint8).fill_(1)
        return y

    def two_in_turn() -> object:
        for _ in range(2):
            torch.empty(8 * MIB, dtype=torch.uint8).fill_(1)
        return None

    plain()
    assert tensor_peak(plain) == tensor_peak(plain) == x.nbytes
    assert tensor_peak(planted) - tensor_peak(plain) == 64 * MIB
    assert tensor_peak(two_in_turn) == 8 * MIB, "what is given back is not counted twice"


def test_what_a_call_leaves_behind_is_counted_to_the_byte() -> None:
    import torch

    kept = []

    def call() -> None:
        kept.append(torch.ones(1000))
        torch.ones(MIB)  # given back at once

    assert tensor_held(call) == tensor_held(call) == 4000


def test_what_lived_before_a_call_counts_neither_as_held_nor_as_given_back() -> None:
    import torch

    earlier = {}

    def make() -> None:
        earlier["seen"] = torch.ones(3 * MIB)

    assert tensor_held(make) == 12 * MIB  # so that the profiler has seen it come
    earlier["unseen"] = torch.ones(2 * MIB)

    def replace() -> None:
        earlier.clear()
        earlier["new"] = torch.ones(1000)

    assert tensor_held(replace) == 4000
    earlier["unseen"] = torch.ones(2 * MIB)
    assert tensor_peak(replace) == 4000
