from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from strop.load.run import LoadPlan, LoadResult, Run
from strop.load.samples import Outcome, Recorder, Samples
from strop.load.summary import summarize
from strop.report.load import doubts, endings, headline, rates, render_load, tables_of
from strop.report.plots import goodput, latency

OBJECTIVE = 0.05


def samples(rate: float, refused: int = 0, late: bool = False) -> Samples:
    recorder = Recorder(np.arange(0, 10, 1 / rate))
    for place in range(int(10 * rate)):
        at = place / rate
        recorder.send(place, at + (0.02 if late else 0.0001))
        outcome, status = (Outcome.REFUSED, 429) if place < refused else (Outcome.OK, 200)
        recorder.end(place, at + 0.01 + 0.0001 * (place % 100), outcome, status)
    return recorder.samples()


def result(*runs: Samples, url: str = "http://127.0.0.1:8080") -> LoadResult:
    plan = LoadPlan(url=url, rates=tuple(len(run.scheduled) / 10 for run in runs), seconds=10.0, objective=OBJECTIVE)
    done = tuple(
        Run(summary=summarize(run, rate=rate, seconds=10.0, objective=OBJECTIVE), samples=run)
        for rate, run in zip(plan.rates, runs, strict=True)
    )
    return LoadResult(plan=plan, target="/v2/models/m/infer", sizes=(80, 80), runs=done, interrupted=False)


def test_the_headline_is_the_rate_with_the_most_good_answers() -> None:
    words = headline(result(samples(100), samples(200, refused=1900)))
    assert words == "100/s answered of 100/s scheduled, p99 19.8 ms; 100.0 % of what was sent within 50.0 ms."


def test_every_ending_is_a_column_and_losses_stand_out() -> None:
    table = endings([run.summary for run in result(samples(100, refused=10)).runs])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["sent"].text, row["ok"].text, row["refused"].text, row["timeout"].text) == ("1000", "990", "10", "0")
    assert (row["ok"].tone, row["refused"].tone, row["timeout"].tone) == ("", "bad", "")
    assert row["refused"].sub == "p99 10.9 ms"


def test_percentiles_that_no_rate_supports_are_left_out() -> None:
    assert "p99.9 [interval]" not in rates([run.summary for run in result(samples(20)).runs]).columns
    assert "p99.9 [interval]" in rates([run.summary for run in result(samples(20), samples(200)).runs]).columns


def test_a_late_generator_is_told() -> None:
    assert "bottleneck itself" in doubts([run.summary for run in result(samples(100, late=True)).runs]).rows[0][-1].text
    assert doubts([run.summary for run in result(samples(100)).runs]).rows[0][-1].text == "nothing"


class Page(HTMLParser):
    """Collects tags that would fetch something or run, and the closing balance."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "link", "iframe") or any(name in ("src", "onload") for name, _ in attrs):
            self.foreign.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_fetches_nothing_and_escapes_what_came_in() -> None:
    text = render_load(result(samples(50), samples(100, refused=200), url="http://h/<script>alert(1)</script>"), "2026-11-25")
    page = Page()
    page.feed(text)
    assert page.open == [] and page.foreign == []
    assert "alert(1)&lt;/script&gt;" in text
    assert text.count("<svg") == 4  # goodput, distribution, one course per rate
    assert "Content-Security-Policy" in text


def test_the_same_load_gives_the_same_bytes() -> None:
    load = result(samples(50), samples(100))
    assert render_load(load, "x") == render_load(load, "x")


def test_a_load_in_which_nothing_was_answered_has_a_page_all_the_same() -> None:
    text = render_load(result(samples(50, refused=500)), "x")
    assert "Distribution: not measured" in text
    assert "500" in text


def test_the_distribution_ends_at_the_answered_share() -> None:
    drawing = latency.draw_distribution([(100.0, samples(100, refused=500))], OBJECTIVE)
    assert "100/s: 50.0 % answered" in drawing
    last = float(re.findall(r'points="[^"]*,([\d.]+)"', drawing)[0])
    assert last == pytest.approx((latency.TOP + 300) / 2, abs=0.2)


def test_lost_requests_are_drawn_where_they_were_due() -> None:
    drawing = latency.draw_course("course", samples(100, refused=100), 10.0, None)
    places = [float(x) for x in re.findall(r'<rect x="([\d.]+)"[^>]*class="lost"', drawing)]
    assert len(places) == 6
    assert max(places) < latency.LEFT + 0.1 * (latency.RIGHT - latency.LEFT)


def test_goodput_needs_more_than_one_rate() -> None:
    assert goodput.draw([run.summary for run in result(samples(50)).runs]) == ""
    drawing = goodput.draw([run.summary for run in result(samples(50), samples(100, refused=500)).runs])
    assert "100/s: answered 50.0 %, goodput 50.0 %" in drawing


def test_without_an_objective_there_is_no_goodput_to_draw() -> None:
    load = result(samples(50), samples(100))
    bare = [replace(run.summary, goodput=None, objective=None) for run in load.runs]
    assert 'class="result"' not in goodput.draw(bare)
    assert rates(bare).rows[0][2].text == "not measured"


def test_a_terminal_gets_the_same_tables() -> None:
    assert [table.title for table in tables_of(result(samples(50)))] == [
        "Latency and goodput", "What became of every request", "How far to trust this",
    ]  # fmt: skip
