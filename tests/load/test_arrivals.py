from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strop.errors import UsageError
from strop.load.arrivals import MOST, bursts, parse_arrivals, poisson, read_times, recorded, uniform


def test_poisson_gaps_have_the_mean_and_the_spread_of_the_exponential() -> None:
    gaps = np.diff(poisson(200.0, 100.0, seed=1))
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.03


@pytest.mark.parametrize("draw", [poisson, uniform, bursts(4), recorded(np.array([0.0, 1.0, 1.5, 9.0]))])
def test_a_schedule_ascends_stays_inside_and_depends_on_the_seed_alone(draw) -> None:  # type: ignore[no-untyped-def]
    times = draw(50.0, 4.0, 3)
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0 and times[-1] < 4.0
    assert np.array_equal(times, draw(50.0, 4.0, 3))


def test_another_rate_is_the_same_pattern_stretched() -> None:
    slow, fast = poisson(10.0, 10.0, 7), poisson(20.0, 10.0, 7)
    assert np.allclose(slow, 2 * fast[: len(slow)])


def test_other_seeds_draw_other_arrivals() -> None:
    assert not np.array_equal(poisson(50.0, 4.0, 1)[:5], poisson(50.0, 4.0, 2)[:5])


def test_uniform_arrivals_are_evenly_spaced_and_exact_in_number() -> None:
    assert np.allclose(uniform(4.0, 2.0, 0), np.arange(8) / 4)


def test_requests_of_a_burst_arrive_together_at_the_rate_of_the_requests() -> None:
    times = bursts(8)(200.0, 100.0, 1)
    instants, counts = np.unique(times, return_counts=True)
    assert set(counts) == {8}
    assert len(times) == pytest.approx(20_000, rel=0.05)
    assert len(instants) == len(times) / 8


def test_recorded_arrivals_keep_the_proportions_of_their_gaps() -> None:
    times = recorded(np.array([5.0, 0.0, 1.0, 3.0]))(0.3, 10.0, 0)
    gaps = {round(gap / np.diff(times).min(), 6) for gap in np.diff(times)}
    assert len(times) == 3
    assert gaps <= {1.0, 2.0, 0.5}


def test_a_short_recording_is_repeated_and_its_mean_rate_is_exact() -> None:
    gaps = np.array([1.0, 2.0, 3.0])
    times = recorded(np.concatenate([[0.0], np.cumsum(gaps)]))(3.0, 10.0, 5)
    whole = np.diff(np.concatenate([times, [10.0]]))
    assert len(times) == 30
    assert np.allclose(np.sort(whole / whole.sum() * 60)[[0, 12, -1]], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("rate", "seconds", "message"),
    [(0.0, 1.0, "more than 0"), (1.0, 0.0, "more than 0"), (float("inf"), 1.0, "more than 0"), (MOST, 2.0, "are more than")],
)
def test_an_impossible_schedule_is_refused(rate: float, seconds: float, message: str) -> None:
    for draw in (poisson, uniform, recorded(np.array([0.0, 1.0]))):
        with pytest.raises(UsageError, match=message):
            draw(rate, seconds, 0)


def test_times_are_read_from_seconds_and_from_dates_below_a_heading(tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    file.write_text("time,size\n1.5,10\n\n3.0,20\n")
    assert read_times(file).tolist() == [1.5, 3.0]
    file.write_text("2002-08-22T18:26:25+00:00\n2002-08-22T20:26:35+02:00\n2002-08-22 18:26:45\n")
    assert np.diff(read_times(file)).tolist() == [10.0, 10.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("posson", "Did you mean 'poisson'"),
        ("bursts", "bursts:8"),
        ("bursts:many", "bursts:8"),
        ("bursts:0", "at least 1"),
        ("missing.csv", "neither a pattern nor a file"),
    ],
)
def test_unknown_arrivals_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_arrivals(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1.0\nsoon\n", "line 2: a time was expected"),
        (b"1.0\nnan\n", "line 2: a time was expected"),
        (b"1.0\n", "two different times"),
        (b"2.0\n2.0\n", "two different times"),
        (b"", "two different times"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_file_without_usable_times_is_refused_by_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        parse_arrivals(str(file))


def test_a_stretch_without_any_length_is_refused() -> None:
    draw = recorded(np.array([0.0] * 50 + [1.0]))
    with pytest.raises(UsageError, match="another --seed"):
        draw(1.0, 2.0, 0)
