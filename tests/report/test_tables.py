from dataclasses import replace

import pytest

from strop.measure.result import Verdict
from strop.report import STATUSES, Budget, Claim, Cost, QualityCheck, RunReport, SeedTime, TimeToTarget, Trial, tables
from strop.report.html import render_html
from strop.report.tables import Table
from strop.report.text import all_tables, render_summary
from strop.testing.sample_report import comparison, interval, minimal_report, sample_report, trial


def _column(table: Table, name: str) -> list[str]:
    place = table.columns.index(name)
    return [row[place].text for row in table.rows]


@pytest.mark.parametrize("report", [sample_report(), minimal_report()])
def test_every_row_is_as_wide_as_its_table(report) -> None:
    for table in all_tables(report):
        assert all(len(row) == len(table.columns) for row in table.rows), table.title
        assert table.right <= set(table.columns)


@pytest.mark.parametrize("status", list(STATUSES))
def test_every_status_has_a_sign_that_is_not_a_colour(status: str) -> None:
    cell = tables.status(status)
    mark, _, word = cell.text.partition(" ")
    assert word == status
    assert len(mark) == 1
    assert cell.tone in ("good", "bad", "muted")


def test_good_and_bad_do_not_share_a_sign() -> None:
    signs = {
        tone: {tables.status(s).text[0] for s in STATUSES if tables.status(s).tone == tone} for tone in ("good", "bad", "muted")
    }
    assert not signs["good"] & signs["bad"]
    assert not signs["good"] & signs["muted"]
    assert not signs["bad"] & signs["muted"]


def test_verdicts_print_ratios_only_where_they_are_proven() -> None:
    claim = Claim(comparisons=tuple(comparison(v.name, 1.31, v) for v in Verdict))
    ratios = dict(zip(Verdict, _column(tables.verdicts(claim), "Speed-up [interval]"), strict=True))
    assert ratios[Verdict.FASTER] == ratios[Verdict.SLOWER] == ratios[Verdict.NO_GAIN] == "×1.31 [1.27, 1.35]"
    assert ratios[Verdict.UNDECIDED].startswith("no ratio")
    assert ratios[Verdict.INVALID].startswith("no ratio")


def test_the_joint_row_is_the_last() -> None:
    claim = Claim(comparisons=(comparison("all", 2.0), comparison("a", 2.0), comparison("b", 2.0)))
    assert _column(tables.verdicts(claim), "Operating point") == ["a", "b", "all points together"]


def test_screening_ratios_stand_in_a_column_that_says_so() -> None:
    table = tables.trials(sample_report().trials)
    assert _column(table, "Screen only")[1].startswith("×5.7")
    assert "not results" in table.note
    place = table.columns.index("Screen only")
    assert all(row[place].tone == "screen" for row in table.rows)
    others = [cell.text for row in table.rows for n, cell in enumerate(row) if n != place]
    assert not any("×" in text for text in others)


def test_a_trial_at_one_point_names_it() -> None:
    cell = tables.trials([trial(1, "x", "slower", screen={"batch 1": interval(0.9)})]).rows[0][3]
    assert cell.text == "×0.900 [0.873, 0.927]"[: len(cell.text)] or cell.text.startswith("×0.9")
    assert cell.sub == "batch 1"


def test_an_untried_trial_is_not_measured() -> None:
    row = tables.trials([Trial(id="t1", recipe="x", status="declined")]).rows[0]
    assert [cell.text for cell in row[3:]] == ["not measured"] * 2


def test_what_was_not_measured_is_listed_with_its_reason() -> None:
    table = tables.untried({"35 graph_compile": "the budget did not allow it"})
    assert [[cell.text for cell in row] for row in table.rows] == [["35 graph_compile", "the budget did not allow it"]]


def test_tallies_of_zero_are_nothing() -> None:
    assert _column(tables.trials([trial(1, "x", "no effect", tallies={"31": {"folded": 0}})]), "Changed") == ["nothing"]
    assert _column(tables.trials([trial(1, "x", "kept", tallies={"31": {"folded": 3}, "29": {"linear": 2}})]), "Changed") == [
        "folded: 3; linear: 2"
    ]


def test_quality_shows_test_n_and_discordance() -> None:
    row = tables.quality(sample_report()).rows[0]
    assert [c.text for c in row] == [
        "accuracy",
        "0.9127",
        "0.9113",
        "−0.0013 [−0.0061, +0.0034]",
        "0.0091",
        "✓ held",
        "1500 examples",
        "1.1 %",
    ]
    assert row[5].sub == "Tango score test, one-sided 5 %"
    assert row[6].sub == "from 1500 sources"


def test_unproven_quality_says_how_many_examples_it_takes() -> None:
    check = QualityCheck(metric="WER", guard="unproven", needed=3093, higher_is_better=False)
    row = tables.quality(replace(minimal_report(), quality=(check,))).rows[0]
    assert row[0].sub == "lower is better"
    assert "about 3093 examples would decide" in row[5].sub
    assert row[1].text == row[3].text == "not measured"


def test_a_cost_that_is_never_earned_back_says_never() -> None:
    table = tables.cost(replace(minimal_report(), cost=Cost(seconds=9.0, break_even={"a": None, "b": 1234567})))
    assert _column(table, "Time")[-2:] == ["never", "after 1,234,567 calls"]


def test_the_steps_of_a_run_add_up_to_the_whole() -> None:
    steps = {"placebo": 30.0, "trial": 10.0}
    table = tables.cost(replace(minimal_report(), budget=Budget(limit=None, spent=100.0, steps=steps)))
    assert _column(table, "Time")[:4] == ["30.0 s", "10.0 s", "1 m 00 s", "1 m 40 s"]
    exact = tables.cost(replace(minimal_report(), budget=Budget(limit=None, spent=40.0, steps=steps)))
    assert _column(exact, "Step")[:3] == ["placebo", "trial", "whole run"]


def test_cold_start_is_sooner_or_later_not_smaller() -> None:
    changes = _column(tables.footprint(sample_report()), "Change")
    assert changes[-1] == "6.1 times sooner"
    assert changes[0] == "2.7 times smaller"
    assert changes[1] == "not measured"


def test_the_environment_lists_the_measured_roofs() -> None:
    rows = {row[0].text: row[1].text for row in tables.environment(sample_report()).rows}
    assert rows["measured roof: gemm float32"] == "170 GFLOP/s"
    assert rows["measured roof: read"] == "43.0 GB/s"
    assert {row[0].text: row[1].text for row in tables.environment(minimal_report()).rows}["measured roofs"] == "not measured"


def test_suggestions_are_not_repeated_per_point() -> None:
    assert len(tables.suggestions(sample_report()).rows) == 2


def test_doubts_are_listed_with_advice() -> None:
    rows = tables.trust(sample_report()).rows
    assert rows[-1][0].text == "Doubt: noisy-host"
    assert rows[-1][1].sub.startswith("Close other programs")
    assert tables.trust(minimal_report()).rows[-1][1].text == "none"


def test_a_contribution_that_was_not_confirmed_is_greyed_and_says_so() -> None:
    cells = {row[0].text: row[1] for row in tables.ablation(sample_report()).rows}
    assert cells["29 static_quantization"].tone == ""
    assert "screen only" not in cells["29 static_quantization"].text
    assert cells["38 memory_layout"].tone == "screen"
    assert cells["38 memory_layout"].text.endswith("screen only")
    assert cells["31 kernel_fusion"].text == "not measured"


def test_time_to_target_tells_each_seed_and_never_a_mean_of_some() -> None:
    rows = (SeedTime(target=0.9, baseline_seconds=40.0, baseline_steps=50, result_seconds=10.0, result_steps=40),)
    told = TimeToTarget(what="accuracy", looks=6, seeds=rows, sooner=interval(4.0))
    table = tables.time_to_target(told)
    assert table.title == "Time to accuracy" and [cell.text for cell in table.rows[0]] == ["1", "0.9", "40.0 s", "10.0 s"]
    assert "×4.00 [3.88, 4.12] sooner" in table.note and "from 1 of 1 seeds" in table.note and "6 looks" in table.note
    never = SeedTime(target=0.9, baseline_seconds=40.0, baseline_steps=50)
    table = tables.time_to_target(TimeToTarget(what="accuracy", looks=6, seeds=(*rows, never)))
    assert table.rows[1][3].text == "not reached" and table.note.startswith("No mean; it reached the target from 1 of 2 seeds")


def test_a_report_shows_the_time_to_target_where_there_is_one() -> None:
    rows = (SeedTime(target=0.9, baseline_seconds=40.0, baseline_steps=50, result_seconds=10.0, result_steps=40),)
    report = replace(sample_report(), time_to_target=TimeToTarget(what="accuracy", looks=6, seeds=rows))
    assert RunReport.from_json(report.to_json()) == report
    for text in (render_html(report), render_summary(report)):
        assert "Time to accuracy" in text and "40 steps" in text
    assert "Time to" not in render_summary(replace(sample_report(), time_to_target=None))
