import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import UsageError
from strop.units import (
    NOT_MEASURED,
    parse_bytes,
    parse_rate,
    parse_seconds,
    show_bytes,
    show_number,
    show_per_second,
    show_rate,
    show_seconds,
    show_seconds_interval,
    show_share,
    show_speedup,
)

SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
BYTES = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("4m", 240), ("1h", 3600), ("50ms", 0.05), ("7", 7), ("1.5 min", 90), (" 2 s ", 2)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-3s", "4 weeks", "s", "1e3", "nan", "inf"])
def test_what_is_no_duration_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(UsageError, match="a duration was expected") as caught:
        parse_seconds(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512_000_000), ("2GiB", 2**31), ("10", 10), ("1.5kb", 1500), ("3 KiB", 3072)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "3 bits", "1e9"])
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(UsageError, match="a size was expected") as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00142, "1.42 ms"),
        (0, "0 s"),
        (999.6e-6, "1.00 ms"),
        (9.996e-3, "10.0 ms"),
        (59.94, "59.9 s"),
        (59.96, "1 m 00 s"),
        (200, "3 m 20 s"),
        (3599.4, "59 m 59 s"),
        (3599.7, "1 h 00 m"),
        (7300, "2 h 02 m"),
        (4e-8, "40.0 ns"),
        (-2, "-2.00 s"),
        (math.nan, NOT_MEASURED),
        (math.inf, NOT_MEASURED),
    ],
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


@given(st.floats(1e-9, 59.9))
def test_short_durations_carry_three_digits_and_lose_less_than_half_of_the_last(seconds: float) -> None:
    number, unit = show_seconds(seconds).split(" ")
    assert len(number.replace(".", "")) == 3
    assert float(number) * SECONDS[unit] == pytest.approx(seconds, rel=5.1e-3)


@given(st.floats(60, 1e6))
def test_long_durations_never_show_sixty_of_a_smaller_unit(seconds: float) -> None:
    assert int(re.findall(r"(\d+) [ms]$", show_seconds(seconds))[0]) < 60


def test_an_interval_of_a_duration_has_one_unit() -> None:
    assert show_seconds_interval(0.0014, 0.00142, 0.00145) == "1.42 ms [1.40, 1.45]"
    assert show_seconds_interval(0.0009, 0.001, 0.0011) == "1.00 ms [0.90, 1.10]"
    assert show_seconds_interval(1e-6, 2e-6, 3e-6) == "2.00 µs [1.00, 3.00]"
    assert show_seconds_interval(1e-9, 2e-9, 3e-9) == "2.00 ns [1.00, 3.00]"


@pytest.mark.parametrize("values", [(1, math.nan, 2), (0, 1, math.inf), (0, 0, 0), (100, 120, 140)])
def test_an_interval_that_cannot_share_a_unit_leaves_the_estimate(values: tuple[float, float, float]) -> None:
    assert show_seconds_interval(*values) == show_seconds(values[1])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 KB"),
        (999.6e3, "1.00 MB"),
        (22.7e6, "22.7 MB"),
        (5e13, "50.0 TB"),
        (-3e6, "-3.00 MB"),
    ],
)
def test_sizes_are_written(size: float, text: str) -> None:
    assert show_bytes(size) == text


@given(st.integers(1000, 10**14))
def test_a_written_size_is_right_to_three_digits(size: int) -> None:
    number, unit = show_bytes(size).split(" ")
    assert float(number) * BYTES[unit] == pytest.approx(size, rel=5.1e-3)
    assert 1 <= float(number) < 1000


def test_rates_get_a_prefix() -> None:
    assert show_rate(1.7e11, "FLOP/s") == "170 GFLOP/s"
    assert show_rate(1.4e12, "FLOP/s") == "1.40 TFLOP/s"
    assert show_rate(12.3456, "calls/s") == "12.3 calls/s"
    assert show_rate(0, "calls/s") == "0.00 calls/s"
    assert show_rate(999.7, "calls/s") == "1.00 kcalls/s"


def test_shares_are_percentages() -> None:
    assert show_share(0.1234) == "12.3 %"
    assert show_share(0) == "0.0 %"
    assert show_share(1e-5) == "< 0.1 %"
    assert show_share(-0.02) == "-2.0 %"


def test_numbers_keep_four_digits() -> None:
    assert [show_number(v) for v in (0.91234, 1500.0, 0.0, -0.5)] == ["0.9123", "1500", "0", "-0.5"]


@pytest.mark.parametrize("show", [show_bytes, show_share, show_number, lambda v: show_rate(v, "x")])
def test_what_is_not_a_number_is_not_measured(show) -> None:
    assert show(math.nan) == NOT_MEASURED
    assert show(math.inf) == NOT_MEASURED


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1.27, 1.31, 1.35), "×1.31 [1.27, 1.35]"),
        ((6.1, 6.3, 6.5), "×6.30 [6.10, 6.50]"),
        ((5.0, 6.0, 8.0), "×6.0 [5.0, 8.0]"),
        ((900, 1234, 1500), "×1234 [900, 1500]"),
        ((0.0399, 0.043, 0.046), "×0.043 [0.040, 0.046]"),
        ((0.0003, 0.0004, 0.0005), "×0.00040 [0.00030, 0.00050]"),
        ((1, 1, 1), "×1.00 [1.00, 1.00]"),
        ((0.9987, 1.0, 1.0012), "×1.000 [0.999, 1.001]"),
        ((0, 1, math.inf), "×1.00 [0.00, ∞]"),
        ((1, math.nan, 2), NOT_MEASURED),
    ],
)
def test_a_speed_up_keeps_the_digits_its_interval_supports(values: tuple[float, float, float], text: str) -> None:
    assert show_speedup(*values) == text


@given(st.floats(0.01, 1000), st.floats(0.001, 0.5))
def test_a_written_interval_keeps_its_order_and_its_width(estimate: float, share: float) -> None:
    low, high = estimate * (1 - share), estimate * (1 + share)
    middle, left, right = (float(v) for v in re.findall(r"[\d.]+", show_speedup(low, estimate, high)))
    assert left <= middle <= right
    unit = 10.0 ** -len(str(show_speedup(low, estimate, high)).split(" ")[0].partition(".")[2])
    assert unit <= max(estimate * share / 3, 1e-3) * 1.0001 or unit == 1


@pytest.mark.parametrize(("text", "rate"), [("200/s", 200.0), ("90/m", 1.5), ("7200/h", 2.0), ("0.5", 0.5), (" 12 / s ", 12.0)])
def test_rates_are_read_per_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "200/x", "0/s", "-3/s", "200s", "1/2/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="for instance 200/s"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, "0.500/s"),
        (1.0, "1/s"),
        (35.83, "35.8/s"),
        (99.97, "100/s"),
        (199.6, "200/s"),
        (12500.2, "12,500/s"),
        (math.nan, "not measured"),
    ],
)
def test_how_often_something_happens_is_written_as_people_say_it(value: float, words: str) -> None:
    assert show_per_second(value) == words
