"""Times to begin with: those of the manifest, or a few taken at start."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from strop.contract.signature import Signature
from strop.serve.latency import Seed
from strop.serve.stack import Stacker
from strop.serve.warm import _lengths, measured_seeds, recorded_seeds, seeds_to_record, warm_up
from tests.serve.conftest import Doubler
from tests.serve.test_stack import PADDING, tokens

Make = Callable[..., Signature]


def test_only_entries_with_times_are_seeds() -> None:
    latency = {
        "batch 8": {"speedup": 1.5, "low": 1.4},
        "rows 8": {"rows": 8, "width": 128, "seconds": 0.01},
        "broken": {"rows": 8, "width": 0, "seconds": 0.01},
    }
    assert recorded_seeds(latency) == [Seed(width=128, rows=8, seconds=0.01)]
    assert recorded_seeds({}) == []


def test_what_is_recorded_is_read_back() -> None:
    seeds = [Seed(width=8, rows=1, seconds=0.001), Seed(width=8, rows=64, seconds=0.02), Seed(width=16, rows=1, seconds=0.002)]
    assert recorded_seeds(seeds_to_record(seeds)) == seeds


def test_every_length_is_met_once_all_at_once_and_errors_are_raised() -> None:
    widths: list[int] = []
    together = threading.Barrier(len(_lengths(PADDING)), timeout=5)

    class Sentences(Doubler):
        def __call__(self, *args: object, **kwargs: object) -> object:
            widths.append(kwargs["ids"].shape[1])  # type: ignore[attr-defined]
            together.wait()
            return None

    warm_up(Sentences(), tokens(), Stacker(tokens(), PADDING))
    assert sorted(widths) == list(_lengths(PADDING))

    class Broken(Doubler):
        def __call__(self, *args: object, **kwargs: object) -> object:
            raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        warm_up(Broken(), tokens(), Stacker(tokens(), PADDING))


def test_a_few_sizes_are_timed_smallest_first_and_the_first_call_of_each_does_not_count(signature: Make) -> None:
    program, ticks = Doubler(), itertools.count(0.0, 0.001)
    seeds = measured_seeds(program, signature(None, 4), Stacker(signature(None, 4)), 64, clock=lambda: next(ticks))
    assert [(seed.rows, seed.width) for seed in seeds] == [(1, 4), (8, 4), (64, 4)]
    assert program.batches == [1] * 4 + [8] * 4 + [64] * 4
    assert all(seed.seconds == pytest.approx(0.001) for seed in seeds)


def test_the_budget_ends_it_but_one_size_is_always_timed(signature: Make) -> None:
    program = Doubler()
    assert len(measured_seeds(program, signature(None, 4), Stacker(signature(None, 4)), 64, budget=0.0)) == 1


def test_a_fixed_batch_is_timed_as_it_is(signature: Make) -> None:
    program = Doubler()
    (seed,) = measured_seeds(program, signature(3, 4), Stacker(signature(3, 4)), 1)
    assert (seed.rows, seed.width, program.batches) == (1, 12, [3] * 4)


def test_lengths_are_tried_where_they_can_be_padded_with_every_place_marked_real() -> None:
    seen = []

    class Sentences(Doubler):
        def __call__(self, *args: object, **kwargs: object) -> object:
            seen.append((kwargs["ids"].shape, int(kwargs["mask"].sum()), int(kwargs["ids"].sum())))  # type: ignore[attr-defined]
            return None

    seeds = measured_seeds(Sentences(), tokens(), Stacker(tokens(), PADDING), 8)
    longest = max(edge for edges in PADDING.edges for edge in edges)
    widths = {seed.width for seed in seeds}
    assert max(widths) >= longest and {(seed.rows, seed.width) for seed in seeds} == {(r, w) for r in (1, 8) for w in widths}
    assert {shape for shape, _, _ in seen} == {(r, w) for r in (1, 8) for w in widths}
    assert all(shape[0] * shape[1] == ones and not ids for shape, ones, ids in seen)
