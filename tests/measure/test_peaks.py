"""Peak memory verdicts: complete separation, both directions, and what is not enough."""

from __future__ import annotations

import itertools

import pytest

from strop.errors import MeasureError
from strop.measure.peaks import exact_peaks, process_peaks
from strop.measure.result import Verdict

MB = 10**6
BASE = [500 * MB, 505 * MB, 498 * MB, 503 * MB, 501 * MB]


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.5, Verdict.FASTER), (0.95, Verdict.FASTER), (0.97, Verdict.UNDECIDED), (1.0, Verdict.NO_GAIN), (1.5, Verdict.SLOWER)],
)
def test_verdicts(share: float, verdict: Verdict) -> None:
    found, ratio = process_peaks(BASE, [round(peak * share) for peak in BASE])
    assert found is verdict
    assert ratio.low <= 1 / share <= ratio.high
    assert ratio.estimate == pytest.approx(1 / share, rel=1e-6)


def test_one_peak_out_of_line_is_enough_to_doubt() -> None:
    candidate = [300 * MB] * 4 + [490 * MB]
    assert process_peaks(BASE, candidate)[0] is Verdict.UNDECIDED


def test_chance_alone_separates_one_order_in_252() -> None:
    """Every way of dealing ten different peaks to two arms: just one deal gives the candidate the five small ones."""
    peaks = [round(100 * MB * 1.1**i) for i in range(10)]
    smaller = 0
    for chosen in itertools.combinations(range(10), 5):
        candidate = [peaks[i] for i in chosen]
        baseline = [peaks[i] for i in range(10) if i not in chosen]
        smaller += process_peaks(baseline, candidate)[0] is Verdict.FASTER
    assert smaller == 1


def test_swapped_arms_swap_the_verdict() -> None:
    small = [peak // 2 for peak in BASE]
    assert process_peaks(small, BASE)[0] is Verdict.SLOWER


@pytest.mark.parametrize(("baseline", "candidate"), [(BASE[:4], BASE), (BASE, []), ([0, *BASE[1:]], BASE)])
def test_too_few_or_senseless_peaks_are_refused(baseline: list[int], candidate: list[int]) -> None:
    with pytest.raises(MeasureError, match="5 fresh processes"):
        process_peaks(baseline, candidate)


def test_exact_counts_are_compared_as_they_are() -> None:
    assert exact_peaks(1000, 999) is Verdict.FASTER
    assert exact_peaks(1000, 1000) is Verdict.NO_GAIN
    assert exact_peaks(999, 1000) is Verdict.SLOWER
    assert exact_peaks(1000, 980, margin=0.03) is Verdict.NO_GAIN
    with pytest.raises(MeasureError, match="sizes in bytes"):
        exact_peaks(-1, 5)
