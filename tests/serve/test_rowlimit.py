"""Batches shrink when memory runs out and grow back when it does not."""

from __future__ import annotations

from strop.serve.rowlimit import CALM, RowLimit


def test_the_limit_is_halved_and_regained_a_row_at_a_time() -> None:
    limit = RowLimit(16)
    limit.exhausted(10)
    assert limit.rows == 5
    limit.exhausted(10)
    assert limit.rows == 5, "the other half of the same batch says nothing new"
    for _ in range(CALM):
        limit.held(4)
    assert limit.rows == 5, "smaller batches say nothing about the limit"
    for _ in range(CALM - 1):
        limit.held(5)
    assert limit.rows == 5
    limit.held(5)
    assert limit.rows == 6


def test_the_limit_stays_between_one_row_and_where_it_began() -> None:
    limit = RowLimit(2)
    for _ in range(3):
        limit.exhausted(1)
    assert limit.rows == 1
    for _ in range(10 * CALM):
        limit.held(limit.rows)
    assert limit.rows == 2


def test_a_scale_raises_and_lowers_by_its_factor_up_to_the_most() -> None:
    limit = RowLimit(64, first=32, scale=1.5)
    for expected in (48, 64, 64):
        for _ in range(CALM):
            limit.held(limit.rows)
        assert limit.rows == expected
    limit.exhausted(64)
    assert limit.rows == 42


def test_memory_that_is_short_lowers_the_limit_instead_of_raising_it() -> None:
    room = [0.1, 0.1, 0.5]
    limit = RowLimit(64, first=32, scale=1.5, headroom=0.2, room=lambda: room.pop(0))
    for expected in (21, 14, 21):
        for _ in range(CALM):
            limit.held(limit.rows)
        assert limit.rows == expected
    assert room == [], "it is asked once in a hundred full batches"


def test_the_most_rows_are_given_up_too_when_memory_is_short() -> None:
    limit = RowLimit(16, headroom=0.2, room=lambda: 0.0)
    for _ in range(CALM):
        limit.held(16)
    assert limit.rows == 8
