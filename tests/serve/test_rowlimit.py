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
