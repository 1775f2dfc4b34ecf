import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import LedgerError, MeasureError
from strop.report import Claim, QualityCheck, RunReport, Samples, break_even_calls
from strop.testing.sample_report import comparison, interval, minimal_report, sample_report, trial


@pytest.mark.parametrize("report", [sample_report(), minimal_report(), minimal_report(130)])
def test_a_report_survives_strict_json(report: RunReport) -> None:
    text = json.dumps(report.to_json(), allow_nan=False)
    assert RunReport.from_json(json.loads(text)) == report


def test_to_json_does_not_need_json_to_be_read_back() -> None:
    assert RunReport.from_json(sample_report().to_json()) == sample_report()


def test_another_schema_is_refused() -> None:
    with pytest.raises(LedgerError, match="schema 99"):
        RunReport.from_json({**minimal_report().to_json(), "schema": 99})


def test_a_damaged_record_is_refused() -> None:
    row = sample_report().to_json()
    row["gate"]["comparisons"][0]["verdict"] = "fast"
    with pytest.raises(LedgerError, match=r"gate\.comparisons\[0\]\.verdict is 'fast'"):
        RunReport.from_json(row)


def test_an_unknown_status_is_refused_with_the_nearest() -> None:
    with pytest.raises(MeasureError, match="trial t01 has the status 'failed to prepar'\\. Did you mean 'failed to prepare'"):
        replace(minimal_report(), trials=(trial(1, "x", "failed to prepar"),))


def test_an_unknown_guard_word_is_refused() -> None:
    with pytest.raises(MeasureError, match="'hold'\\. Did you mean 'held'"):
        replace(minimal_report(), quality=(QualityCheck(metric="accuracy", guard="hold"),))


@pytest.mark.parametrize("place", ["gate", "claims"])
def test_a_screening_comparison_can_never_stand_where_results_stand(place: str) -> None:
    claim = Claim(comparisons=(replace(comparison("all", 2.0), phase="screen"),))
    with pytest.raises(MeasureError, match="only confirmed comparisons are results"):
        replace(minimal_report(), **{place: claim if place == "gate" else (claim,)})


def test_nan_is_refused_wherever_it_hides() -> None:
    with pytest.raises(MeasureError, match=r"samples\[0\]\.log_ratios\[1\] is NaN"):
        replace(minimal_report(), samples=(Samples(point="a", log_ratios=(0.0, math.nan)),))
    with pytest.raises(MeasureError, match=r"screen\['all'\]\.low is NaN"):
        replace(minimal_report(), trials=(trial(1, "x", "kept", screen={"all": interval(math.nan)}),))


@given(st.floats(0.1, 1e5), st.floats(1e-6, 10), st.floats(1e-6, 10))
def test_break_even_is_the_first_call_at_which_the_cost_is_earned_back(cost: float, before: float, after: float) -> None:
    calls = break_even_calls(cost, before, after)
    if after >= before:
        assert calls is None
    else:
        assert calls is not None
        gain = before - after
        assert calls * gain >= cost * (1 - 1e-9)
        assert (calls - 1) * gain <= cost * (1 + 1e-9)
