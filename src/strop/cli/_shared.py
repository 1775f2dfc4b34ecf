"""Options and output that several commands share."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import Any

import click

from strop.observe import Observer, silent

NARROWEST, WIDEST = 72, 160
"""Tables are no easier to read when they are narrower, or wider, than so many characters."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value on standard output and nothing else.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
reference = click.argument("workload")


def hub_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of ``hf:`` workloads."""
    for option in (
        click.option("--label", default="", help="hf: column with the label (default: label)."),
        click.option("--text", default="", help="hf: column with the text (default: text)."),
        click.option("--data", default="", help="hf: CSV file with evaluation data."),
        click.option("--task", default="", help="hf: what the model does, for instance text-classification."),
    ):
        command = option(command)
    return command


def observer(*, hidden: bool) -> Observer:
    """Return the console, or silence for ``--json`` and ``--quiet``."""
    if hidden:
        return silent
    from strop.observe.console import ConsoleSink

    return ConsoleSink()


def terminal_width() -> int:
    """Return how many characters wide tables are printed; 120 where no terminal reads them."""
    return min(max(shutil.get_terminal_size((120, 24)).columns, NARROWEST), WIDEST)


def print_json(value: Any) -> None:
    """Print one JSON value; in escapes where the locale does not hold every character."""
    escaped = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    click.echo(json.dumps(value, indent=1, ensure_ascii=escaped, default=str))
