"""The page of one training: it says what happened, escapes what came from outside, and claims no comparison."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from strop.report.training import StepRow, TrainingReport, headline, render_training, summary

ROWS = tuple(StepRow(step=n, epoch=1 + n // 6, loss=1 / n, rate=0.1, samples=8, seconds=0.5, taken=n != 4) for n in range(1, 11))


def report(**changes: Any) -> TrainingReport:
    fields: dict[str, Any] = {
        "name": "<tiny>", "version": "0", "started": "now", "status": "trained", "planned": 10, "steps": ROWS,
        "metric": "accuracy", "before": 0.5, "after": 0.75, "screening": {1: 0.6}, "weights": "model.safetensors",
        "tallies": {"lr_scheduler": {"steps": 9}},
    }  # fmt: skip
    return TrainingReport(**{**fields, **changes})


def test_speed_counts_samples_over_the_time_in_steps() -> None:
    assert report().seconds == 5.0 and report().speed == 16.0
    assert math.isnan(report(steps=()).speed) and math.isnan(report(steps=()).loss)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Trained for 10 of 10 steps: accuracy went from 0.5 to 0.75"),
        ({"before": None, "after": None}, "Quality was not judged"),
        ({"status": "interrupted", "planned": 20, "reason": "continue"}, "Interrupted after 10 of 20 steps: continue"),
        ({"status": "failed", "reason": ""}, "Failed after 10 of 10 steps"),
    ],
)
def test_the_headline_says_what_came_of_it(changes: dict[str, Any], words: str) -> None:
    assert words in headline(report(**changes))


def test_the_share_of_waiting_is_over_the_time_in_steps() -> None:
    rows = tuple(replace(row, waiting=0.1) for row in ROWS)
    assert report(steps=rows).waiting == pytest.approx(0.2) and math.isnan(report(steps=()).waiting)
    assert ("Waiting for data", "20.0 % of it") in [(row[0].text, row[1].text) for row in summary(report(steps=rows)).rows]
    assert ("Waiting for data", "not measured") in [(row[0].text, row[1].text) for row in summary(report(steps=())).rows]


def test_steps_that_were_not_taken_are_counted() -> None:
    assert ("Steps not taken", "1") in [(row[0].text, row[1].text) for row in summary(report()).rows]


def test_what_trained_is_named() -> None:
    assert ("Trained on", "a card") in [(row[0].text, row[1].text) for row in summary(report(machine="a card")).rows]
    assert ("Trained on", "not measured") in [(row[0].text, row[1].text) for row in summary(report()).rows]


def test_the_page_is_whole_escaped_and_needs_nothing_from_elsewhere() -> None:
    page = render_training(report(recipe="strop: 1 # <b>", reference="a <file>.py"))
    HTMLParser().feed(page)
    assert "<tiny>" not in page and "&lt;tiny&gt;" in page and "<b>" not in page and "<file>" not in page
    assert "<script" not in page and "http://" not in page.replace("http-equiv", "") and "src=" not in page
    assert "lr_scheduler" in page and "steps: 9" in page and "epoch 1: 0.6" in page
    assert "not a comparison" in page


def test_a_page_without_steps_says_so() -> None:
    page = render_training(report(steps=(), status="failed", screening={}, tallies={}))
    assert "Loss curve: not measured" in page and "What each instruction changed: no recipe" in page
