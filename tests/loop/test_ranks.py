"""Who trains with whom, and which samples are whose."""

from __future__ import annotations

import pytest

from strop.errors import TrainingError, UsageError
from strop.loop.ranks import Place, check_sizes, device, join, own_part, place


def test_a_process_started_by_itself_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert place() == Place(rank=0, world=1, local=0)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert place() == Place(rank=5, world=8, local=1)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_parts_are_distinct_and_together_the_batches(world: int) -> None:
    batches = [[0, 1, 2, 3, 4], [5, 6, 7, 8], [9]]
    parts = [own_part(lambda epoch: batches, rank, world)(0) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1, "as many steps on every rank"
    for number in range(len(parts[0])):
        step = [part[number] for part in parts]
        assert all(step), "no rank stands idle"
        assert max(map(len, step)) - min(map(len, step)) <= 1
    assert sorted(sample for part in parts for batch in part for sample in batch) == list(range(10))
    assert len(parts[0]) == 2, "the last sample joined the batch before it"


def test_lengths_are_spread_evenly_over_a_sorted_batch() -> None:
    first, second = (own_part(lambda epoch: [list(range(8))], rank, 2)(0)[0] for rank in (0, 1))
    assert (first, second) == ([0, 2, 4, 6], [1, 3, 5, 7])


def test_processes_that_do_not_come_are_named_within_the_time_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=r"the 2 processes could not meet over gloo .*Start them with torchrun"):
        join("gloo", "env://", timeout=1.0)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((4, 2, 1), r"model_parallel_size 4 × pipeline_parallel_size 2 × data_parallel_size 1 = 8, but 16 processes were"),
        ((None, None, 3), r"= 3, but 16 processes were started"),
        ((2, -1, 8), r"pipeline_parallel_size must be at least 1, got -1"),
        ((0, None, None), r"model_parallel_size must be at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_multiply_to_the_world_are_refused_with_the_arithmetic(
    sizes: tuple[int | None, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "16")
    with pytest.raises(UsageError, match=words):
        check_sizes(*sizes)


def test_sizes_that_multiply_and_sizes_that_were_not_given_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "16")
    check_sizes(None, None, None)
    check_sizes(4, 2, 2)
    check_sizes(None, None, 16)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UsageError, match="= 2, but 1 process was started"):
        check_sizes(None, 2, None)


@pytest.mark.parametrize(("found", "local", "where"), [(0, "1", "cpu"), (1, "0", "cuda:0"), (4, "3", "cuda:3")])
def test_a_process_trains_on_its_own_accelerator_or_on_the_processor(
    found: int, local: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_accelerators(found, local, monkeypatch)
    assert device() == where


def test_a_process_without_an_accelerator_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_accelerators(2, "2", monkeypatch)
    with pytest.raises(UsageError, match=r"process 2 of this machine has no accelerator of its own: torch finds 2\. Start one"):
        device()


def plant_accelerators(found: int, local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: found > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: found)
    monkeypatch.setenv("LOCAL_RANK", local)
