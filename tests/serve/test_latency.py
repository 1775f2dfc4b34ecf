"""Predictions: what seeds say of other sizes, and what is learned from batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import UsageError
from strop.serve.latency import FEW, RECENT, REFRESH, SPREAD, WINDOW, LatencyModel, Seed

MOST = 32


def affine(width: int = 4, fixed: float = 8e-3, each: float = 1e-3) -> LatencyModel:
    return LatencyModel([Seed(width=width, rows=rows, seconds=fixed + each * rows) for rows in (1, 8, 32)], MOST)


def test_a_line_through_the_seeds_is_read_back_everywhere() -> None:
    model = affine()
    for rows in range(1, MOST + 1):
        assert model.typical(4, rows) == pytest.approx(8e-3 + 1e-3 * rows)
        assert model.likely(4, rows) == pytest.approx(SPREAD * (8e-3 + 1e-3 * rows))


def test_another_width_costs_by_its_elements_and_more_rows_than_known_by_their_share() -> None:
    model = affine()
    assert model.typical(8, 4) == pytest.approx(model.typical(4, 8))
    assert model.typical(4, 2 * MOST) == pytest.approx(2 * model.typical(4, MOST))
    lone = LatencyModel([Seed(width=4, rows=2, seconds=0.01)], MOST)
    assert lone.typical(4, 8) == pytest.approx(0.04)
    assert lone.typical(4, 1) == pytest.approx(0.01), "nothing is known below the smallest seed, so no less is promised"


def test_the_best_batch_has_most_rows_per_second_within_the_limit() -> None:
    model = affine()
    assert model.best_rows(4, 1.0) == MOST
    assert model.best_rows(4, 20e-3) == 12
    assert model.best_rows(4, 1e-3) == 1, "one row must run, however long it takes"


def test_what_batches_take_replaces_what_seeds_said_at_every_size() -> None:
    model = affine()
    for _ in range(WINDOW):
        model.observe(4, 8, 2 * 16e-3)
    assert model.typical(4, 8) == pytest.approx(32e-3)
    assert model.typical(4, 1) == pytest.approx(18e-3)
    assert model.typical(4, 32) == pytest.approx(80e-3)


def test_what_never_ran_is_as_much_slower_than_its_seeds_as_what_runs() -> None:
    model = affine()
    seeds = model.typical(9, 1)
    for _ in range(FEW - 1):
        model.observe(4, 8, 2 * 16e-3)
    assert model.typical(9, 1) == pytest.approx(seeds), "so few tell nothing"
    model.observe(4, 8, 2 * 16e-3)
    assert model.typical(9, 1) == pytest.approx(2 * seeds)
    for _ in range(3):
        model.observe(9, 1, 1.5 * seeds, 1.0)
    assert model.typical(9, 1) == pytest.approx(1.5 * seeds), "once it ran, it tells itself"
    for _ in range(RECENT):
        model.observe(4, 8, 16e-3, 2.0)
    assert model.typical(20, 1) == pytest.approx(affine().typical(20, 1)), "and what runs may be quick again"
    assert model.typical(9, 1) == pytest.approx(1.5 * seeds)


def test_the_shape_of_the_curve_is_learned_too() -> None:
    model = affine()
    for _ in range(WINDOW):
        for rows in (1, 2, 4, 8, 16, 32):
            model.observe(4, rows, 1e-3 + 4e-3 * rows)
    for rows in (1, 8, 24, 32):
        assert model.typical(4, rows) == pytest.approx(1e-3 + 4e-3 * rows, rel=0.02)


def test_the_likely_time_is_what_all_but_one_in_twenty_keep() -> None:
    model = affine()
    for number in range(WINDOW):
        model.observe(4, 8, 64e-3 if number % 20 == 19 else 16e-3)
    assert model.typical(4, 8) == pytest.approx(16e-3)
    assert model.likely(4, 8) == pytest.approx(64e-3)


def test_what_was_seen_is_read_after_some_time_of_work_so_that_quick_batches_do_not_pay_for_it() -> None:
    model = affine()
    model.observe(4, 8, 16e-3)
    assert model.observe(4, 8, 50e-3) == pytest.approx(50 / 16)
    assert model.likely(4, 8) == pytest.approx(50e-3), "a long batch is believed at once"
    quick = affine(fixed=1e-4, each=1e-5)
    for _ in range(int(REFRESH / 1e-3)):  # the first one counts as compiling
        quick.observe(4, 8, 1e-3)
    assert quick.typical(4, 8) == pytest.approx(1.8e-4)
    quick.observe(4, 8, 1.1e-3)
    assert quick.typical(4, 8) == pytest.approx(1e-3)


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(1e-5, 1.0)), max_size=60))
def test_more_rows_never_take_less_and_promises_never_undercut_the_median(seen: list[tuple[int, float]]) -> None:
    model = affine()
    for rows, seconds in seen:
        model.observe(4, rows, seconds)
    for rows in range(1, 2 * MOST):
        assert model.typical(4, rows + 1) >= model.typical(4, rows) > 0
        assert model.likely(4, rows) >= model.typical(4, rows)


@pytest.mark.parametrize("seeds", [[], [Seed(width=1, rows=1, seconds=0.0)], [Seed(width=0, rows=1, seconds=1.0)]])
def test_nothing_is_predicted_from_nothing(seeds: list[Seed]) -> None:
    with pytest.raises(UsageError, match="needs measured times"):
        LatencyModel(seeds, MOST)


def test_a_first_batch_that_compiled_teaches_nothing_and_the_second_does() -> None:
    model = affine()
    assert model.observe(4, 8, 10 * 16e-3) == pytest.approx(10)
    assert model.typical(4, 8) == pytest.approx(16e-3)
    model.observe(4, 8, 10 * 16e-3)
    assert model.typical(4, 8) > 100e-3
