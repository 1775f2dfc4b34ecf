"""How quickly requests come, read off a scripted clock."""

from __future__ import annotations

import random

import pytest

from strop.serve.pace import LOOK, SMOOTH, Pace
from strop.serve.request import Bucket

SHORT, LONG = Bucket("a", 8), Bucket("a", 64)


def fed(pace: Pace, bucket: Bucket, rate: float, begin: float, seconds: float, rows: int = 1) -> Pace:
    for number in range(int(rate * seconds)):
        pace.count(begin + number / rate, bucket, rows)
    return pace


def test_nothing_is_known_before_anything_came() -> None:
    assert Pace().rate(SHORT) == 0.0


def test_an_even_stream_is_read_as_it_is_and_rows_count() -> None:
    assert fed(Pace(), SHORT, 400.0, 100.0, 5.0).rate(SHORT) == pytest.approx(400.0, rel=0.02)
    assert fed(Pace(), SHORT, 400.0, 100.0, 5.0, rows=3).rate(SHORT) == pytest.approx(1200.0, rel=0.02)


def test_chance_moves_it_little() -> None:
    pace, draw, now = Pace(), random.Random(0), 0.0
    found = []
    while now < 20.0:
        now += draw.expovariate(400.0)
        pace.count(now, SHORT, 1)
        found.append(pace.rate(SHORT))
    late = found[len(found) // 4 :]
    assert 0.75 * 400 < min(late) < 400 < max(late) < 1.25 * 400


def test_a_change_is_followed_within_a_few_times_the_smoothing() -> None:
    pace = fed(Pace(), SHORT, 400.0, 0.0, 5.0)
    assert fed(pace, SHORT, 100.0, 5.0, 4 * SMOOTH).rate(SHORT) == pytest.approx(100.0, rel=0.2)


def test_it_stands_still_between_two_readings() -> None:
    pace = fed(Pace(), SHORT, 400.0, 0.0, 5.0)
    pace.count(5.0, SHORT, 1)
    before = pace.rate(SHORT)
    pace.count(5.0 + LOOK / 3, SHORT, 1000)
    assert pace.rate(SHORT) == before
    pace.count(5.0 + 2 * LOOK, SHORT, 1)
    assert pace.rate(SHORT) > before


def test_buckets_have_a_pace_each_and_are_forgotten() -> None:
    pace = fed(Pace(), SHORT, 400.0, 0.0, 5.0)
    fed(pace, LONG, 50.0, 5.0, 2.0)
    assert pace.rate(SHORT) < 0.05 * 400
    assert pace.rate(LONG) == pytest.approx(50.0, rel=0.1)
    fed(pace, LONG, 50.0, 7.0, 5.0)
    assert list(pace._rates) == [LONG], "clients choose the buckets; what no longer comes is not kept"


def test_what_comes_after_a_long_silence_does_not_count_as_a_rush() -> None:
    pace = fed(Pace(), SHORT, 400.0, 0.0, 5.0)
    pace.count(65.0, SHORT, 1)
    assert pace.rate(SHORT) < 1.0
