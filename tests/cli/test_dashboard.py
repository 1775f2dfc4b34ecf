from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]


def test_it_writes_the_files_and_says_how_to_prove_them(strop_cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "watch"
    answer = strop_cli("dashboard", "export", "--out", out, "--latency", "200ms", "--backlog", 20, "--target", "localhost:99")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert [Path(line).name for line in lines[:4]] == ["dashboard.json", "rules.yml", "rules_test.yml", "prometheus.yml"]
    assert lines[4] == f"Prove the rules: promtool test rules {out / 'rules_test.yml'}"
    rules = (out / "rules.yml").read_text()
    assert "inference_latency_seconds > 0.2" in rules and "strop_queue_length >= 20" in rules
    assert "localhost:99" in (out / "prometheus.yml").read_text()


def test_json_lists_the_files_and_nothing_else(strop_cli: Cli, tmp_path: Path, json_value: Callable[[str], list[str]]) -> None:
    answer = strop_cli("dashboard", "export", "--out", tmp_path / "watch", "--json")
    assert len(json_value(answer.out)) == 4 and json.loads(answer.out)[0].endswith("dashboard.json")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--out"),
        (["--out", "x", "--latency", "soon"], 2, "a duration was expected"),
        (["--out", "x", "--utilization", "70"], 1, "a share between 0 and 1, got 70"),
        (["--out", "x", "--model", "a/b"], 2, "a model's name is made of"),
        (["--out", "x", "--bundle", "nowhere"], 1, "nowhere is not a bundle"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: list[str], code: int, words: str, strop_cli: Cli) -> None:
    answer = strop_cli("dashboard", "export", *arguments)
    assert answer.code in (code, 2)
    assert words in answer.err and "Traceback" not in answer.err
    assert not Path("x").exists()
