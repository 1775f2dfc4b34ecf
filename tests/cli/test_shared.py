"""What commands share: JSON that is only JSON, progress that can be hidden, the options of hub workloads."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import click
import pytest

from strop.cli import root
from strop.cli._shared import observer, print_json, terminal_width
from strop.observe import Event, Level, silent
from strop.observe.console import ConsoleSink

WITH_JSON = {
    "apply",
    "compare",
    "dashboard",
    "diagnose",
    "explain",
    "list",
    "load",
    "optimize",
    "rerun",
    "selftest",
    "serve",
    "train",
    "verify",
}
WITH_HUB = {"apply", "compare", "diagnose", "optimize"}


def options(name: str) -> set[str]:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    verbs = command.commands.values() if isinstance(command, click.Group) else [command]
    return {option for verb in verbs for parameter in verb.params for option in parameter.opts}


def test_json_is_written_as_one_value_that_keeps_its_characters(
    capsys: pytest.CaptureFixture[str], json_value: Callable[[str], Any]
) -> None:
    value = {"名": ["×", 1, 0.1, None, True]}
    print_json(value)
    text = capsys.readouterr().out
    assert json_value(text) == value
    assert "名" in text


def test_hidden_progress_is_silence_and_shown_progress_leaves_standard_output_free(capsys: pytest.CaptureFixture[str]) -> None:
    assert observer(hidden=True) is silent
    shown = observer(hidden=False)
    assert isinstance(shown, ConsoleSink)
    shown(Event("x", "planted step", Level.RESULT))
    said = capsys.readouterr()
    assert said.out == ""
    assert "planted step" in said.err


def test_every_command_with_an_answer_to_read_has_json() -> None:
    names = root.list_commands(click.Context(root))
    assert {name for name in names if "--json" in options(name)} == WITH_JSON
    assert set(names) - WITH_JSON == {"run"}, "which prints nothing but JSON anyway"


def test_commands_that_take_a_workload_take_hub_workloads() -> None:
    names = root.list_commands(click.Context(root))
    assert {name for name in names if {"--task", "--data", "--text", "--label"} <= options(name)} == WITH_HUB


def test_where_the_locale_lacks_characters_json_is_escaped(
    json_value: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer, encoding="iso-8859-1", write_through=True))
    print_json({"名": "×"})
    assert json_value(buffer.getvalue().decode("ascii")) == {"名": "×"}


@pytest.mark.parametrize(("columns", "width"), [(20, 72), (100, 100), (900, 160)])
def test_tables_are_as_wide_as_the_terminal_within_reason(columns: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert terminal_width() == width
