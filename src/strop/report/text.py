"""The report for a terminal and as plain text: the same sentences and tables as the page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from strop.report import tables, words
from strop.report.model import RunReport
from strop.report.tables import Cell, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {"good": "bold green", "bad": "bold red", "muted": "dim", "screen": "dim italic"}

NO_BREAK = "\u00a0"
WIDE = {"Recipe": 34}
"""Columns that are not squeezed below this."""
SHORT = 28
"""Cells up to this many characters are not broken over lines."""


def render_summary(report: RunReport, width: int = 120) -> str:
    """Return the whole report as plain text without colour, ``width`` characters wide."""
    return _render(lambda console: print_report(report, console), width)


def render_tables(headline: str, tables: Iterable[Table], width: int = 120) -> str:
    """Return a sentence and tables as plain text without colour."""

    def show(console: Console) -> None:
        console.print(headline, markup=False)
        for table in tables:
            console.print()
            print_table(console, table)

    return _render(show, width)


def _render(show: Callable[[Console], None], width: int) -> str:
    from rich.console import Console

    stream = io.StringIO()
    show(Console(file=stream, width=width, no_color=True, force_terminal=False, legacy_windows=False, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().replace(NO_BREAK, " ").splitlines()) + "\n"


def print_report(report: RunReport, console: Console | None = None) -> None:
    """Print the report; without a terminal, or with ``NO_COLOR`` set, no colour is written."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    console.print(Text(words.headline(report), style="bold"))
    console.print(Text(words.kept_by(report), style="dim"))
    for table in all_tables(report):
        console.print()
        print_table(console, table)
    if report.recipe_yaml:
        console.print()
        console.print(Text("Recipe", style="bold"))
        console.print(Text(report.recipe_yaml.rstrip()))
    if report.commands:
        console.print()
        console.print(Text("How to check and repeat it", style="bold"))
        for command in report.commands:
            console.print(
                Text(f"  {command.line}", style="bold"), Text(f"  # {command.what}", style="dim"), sep="", soft_wrap=True
            )


def all_tables(report: RunReport) -> Iterator[Table]:
    """Yield every table of the report in reading order."""
    yield tables.verdicts(report.gate)
    for claim in report.claims:
        yield tables.verdicts(claim, f"{claim.candidate} against {claim.against}")
    yield tables.ablation(report)
    yield tables.quality(report)
    if report.time_to_target is not None:
        yield tables.time_to_target(report.time_to_target)
    yield tables.footprint(report)
    yield tables.latencies(report.baseline, "Latency of the original")
    yield tables.latencies(report.result, "Latency of the result")
    yield tables.diagnosis(report)
    yield tables.suggestions(report)
    yield tables.trials(report.trials)
    yield tables.untried(report.untried)
    yield tables.cost(report)
    yield tables.trust(report)
    yield tables.environment(report)


def print_table(console: Console, table: Table) -> None:
    """Print one table with its title and note."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    console.print(Text(table.title, style="bold"))
    if not table.rows:
        console.print(Text(f"  {table.empty}", style="dim"))
        return
    grid = Grid(box=box.SIMPLE_HEAD, show_header=any(table.columns), pad_edge=False, show_edge=False, header_style="dim")
    for column in table.columns:
        grid.add_column(
            Text(column), justify="right" if column in table.right else "left", overflow="fold", min_width=WIDE.get(column)
        )
    for row in table.rows:
        grid.add_row(*(_text(cell) for cell in row))
    console.print(grid)
    if table.note:
        console.print(Text(table.note, style="dim"))


def _text(cell: Cell) -> Text:
    from rich.text import Text

    kept_together = cell.text if len(cell.text) > SHORT else cell.text.replace(" ", NO_BREAK)
    text = Text(kept_together, style=STYLES.get(cell.tone, ""))
    if cell.sub:
        text.append(f"\n{cell.sub}", style="dim")
    return text
