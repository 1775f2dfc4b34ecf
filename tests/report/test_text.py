import io
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from strop.measure.result import Verdict
from strop.report import STATUSES, Claim
from strop.report.text import all_tables, print_report, render_summary
from strop.testing.sample_report import comparison, interval, minimal_report, sample_report, trial


def test_plain_text_has_no_control_characters_and_keeps_its_width() -> None:
    text = render_summary(sample_report(), width=100)
    assert "\x1b" not in text
    assert "\u00a0" not in text
    tables = text[: text.index("How to check")]
    assert max(len(line) for line in tables.splitlines()) <= 100


def test_the_numbers_of_the_page_are_in_the_terminal() -> None:
    text = render_summary(sample_report())
    for words in (
        "×6.14 [6.02, 6.26]",
        "9.12 ms [8.94, 9.30]",
        "✓ held",
        "24.1 MB",
        "after 30,702 calls",
        "strop verify runs/minilm",
    ):
        assert words in text, words


@pytest.mark.parametrize("status", list(STATUSES))
def test_every_status_is_printed(status: str) -> None:
    text = render_summary(replace(minimal_report(), trials=(trial(1, "a recipe", status),)))
    assert f" {status}" in text


def test_what_was_not_measured_says_so() -> None:
    text = render_summary(minimal_report())
    assert text.startswith("Undecided: no recipe could be tried")
    assert text.count("not measured") >= 20
    assert "×" not in text


def test_undecided_prints_no_ratio() -> None:
    text = render_summary(replace(minimal_report(0), gate=Claim(comparisons=(comparison("all", 1.2345, Verdict.UNDECIDED),))))
    assert "×" not in text
    assert "1.23" not in text


def test_markup_in_names_is_printed_as_it_is() -> None:
    report = replace(
        minimal_report(), trials=(trial(1, "[red]x[/red] keep=[a]", "declined", reason="[/bold]"),), recipe_yaml="a: [b]"
    )
    text = render_summary(report)
    assert "[red]x[/red] keep=[a]" in text
    assert "[/bold]" in text
    assert "a: [b]" in text


def test_sixty_trials_at_ten_points_are_all_there() -> None:
    screen = {f"point {n}": interval(1.1) for n in range(10)} | {"all": interval(1.1)}
    text = render_summary(
        replace(minimal_report(), trials=tuple(trial(n, f"recipe {n}", "slower", screen=screen) for n in range(60)))
    )
    assert all(f"t{n:02d}" in text for n in range(60))


def test_on_a_terminal_there_is_colour_unless_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = io.StringIO()
    print_report(sample_report(), Console(file=coloured, force_terminal=True, color_system="standard", width=120))
    assert "\x1b[1;32m" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = io.StringIO()
    print_report(sample_report(), Console(file=plain, force_terminal=True, color_system="standard", width=120))
    assert "32m" not in plain.getvalue()


def test_every_table_of_the_page_is_told() -> None:
    titles = [table.title for table in all_tables(sample_report())]
    assert len(titles) == len(set(titles)) == 15


def test_importing_the_report_needs_no_rich_and_no_torch() -> None:
    code = "import strop.report, strop.report.text, strop.report.html, sys; sys.exit(bool({'rich', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_crowded_trial_tells_what_changed_and_how_long_preparing_took() -> None:
    crowded = replace(
        trial(1, "29 static_quantization + 47 model_serving_framework(buckets=3, trim=True)", "kept"),
        reason="the rest of the recipe cannot be without it " * 3,
        tallies={"static_quantization": {"output channels re-centred": 627, "int8 GroupConvolution": 16, "int8 MatMul": 37}},
        screen={"all": interval(8.8), "batch 1": interval(6.5), "batch 8": interval(11.7)},
        preparation=13.4,
    )
    text = render_summary(replace(minimal_report(), trials=(crowded,)), width=120)
    assert "re-centred: 627" in text
    assert "prepared in 13.4 s" in text
