"""``strop selftest``: the verdict on the instrument is the exit code, and the record that later reports quote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strop.ledger.files import read_json
from strop.testing.selftest import PlantReport, SelfTestReport

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]


def report(false_faster: int) -> SelfTestReport:
    plants = tuple(
        PlantReport(plant=plant, trials=20, right=20, wrong=0, faster_without_cause=0, bias=0.001, pairs=12.0)
        for plant in (0.0, 0.05, 0.10)
    )
    rate = (0.0, 0.03) if not false_faster else (0.4, 0.6)
    return SelfTestReport(
        alpha=0.05,
        delta=0.02,
        trials=200,
        asked=200,
        false_faster=false_faster,
        false_rate=rate,
        void_share=0.1,
        seconds=60.0,
        plants=plants,
    )


@pytest.mark.parametrize(("false_faster", "code", "words"), [(0, 0, "keeps its promise"), (60, 1, "does NOT keep its promise")])
def test_an_unsound_instrument_is_exit_code_1(
    false_faster: int, code: int, words: str, strop_cli: Cli, json_value: Json, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def stub(trials: int, seconds: float, observer: object, *, seed: int) -> SelfTestReport:
        asked.append((trials, seconds, seed))
        return report(false_faster)

    monkeypatch.setattr("strop.testing.selftest.selftest", stub)
    answer = strop_cli("selftest", "--trials", 7, "--seconds", 9, "--seed", 3)
    assert answer.code == code
    assert words in answer.out
    assert f"equal arms called faster: {false_faster} times" in answer.out
    assert "planted 5.0 %: 20 of 20 found" in answer.out
    answer = strop_cli("selftest", "--json")
    assert answer.code == code
    assert json_value(answer.out) == json_value(json.dumps(report(false_faster).to_json()))
    assert asked == [(7, 9.0, 3), (200, 300.0, 0)]
    assert read_json(place / "cache" / "selftest.json")["false_faster"] == false_faster


def test_real_processes_are_measured_until_the_time_is_over(strop_cli: Cli, json_value: Json) -> None:
    answer = strop_cli("selftest", "--trials", 5, "--seconds", 0.01, "--json")
    said = json_value(answer.out)
    assert (said["trials"], said["asked"]) == (1, 5)
    assert said["plants"][0]["pairs"] > 0
    assert answer.code == (0 if said["sound"] else 1)


@pytest.mark.parametrize("options", [["--trials", "4"], ["--trials", "0"], ["--seconds", "-1"], ["--seconds", "0"]])
def test_numbers_that_make_no_sense_are_refused(options: list[str], strop_cli: Cli) -> None:
    answer = strop_cli("selftest", *options)
    assert (answer.code, answer.out) == (2, "")
    assert options[1] in answer.err


def test_what_was_found_is_printed_though_it_cannot_be_noted(
    strop_cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strop.testing.selftest.selftest", lambda *_, **__: report(0))
    (place / "file").write_text("no folder")
    monkeypatch.setenv("STROP_CACHE", str(place / "file"))
    answer = strop_cli("selftest")
    assert answer.code == 0 and "keeps its promise" in answer.out
    assert "reports will not show this self-test, as it could not be noted" in answer.err
