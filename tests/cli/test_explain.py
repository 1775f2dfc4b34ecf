"""``strop explain``: a page by number, name or alias."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from strop import catalogue
from strop.contract.pages import HEADINGS

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]


@pytest.mark.parametrize("entry", ["47", "model_serving_framework", "model-serving-framework", "engine", "ENGINE"])
def test_number_name_and_alias_lead_to_the_same_page(entry: str, strop_cli: Cli) -> None:
    answer = strop_cli("explain", entry)
    assert answer.code == 0
    assert answer.out.startswith("47 model_serving_framework (deployment, stable)\n")
    assert [line for line in answer.out.splitlines() if line in HEADINGS] == list(HEADINGS)


@pytest.mark.parametrize("row", catalogue.built(), ids=lambda row: row.name)
def test_every_built_entry_has_a_page_in_text_and_in_json(
    row: catalogue.Row, strop_cli: Cli, json_value: Callable[[str], Any]
) -> None:
    assert len(strop_cli("explain", row.number).out.splitlines()) > 10
    text = strop_cli("explain", row.name, "--json").out
    page = json_value(text)
    assert (page["number"], page["name"], page["family"]) == (row.number, row.name, row.family)
    assert page["card"]["aims"] == sorted(page["card"]["aims"]) != []
    assert page["card"]["fidelity"] in ("exact", "rounding", "lossy")
    assert page["card"]["cost"] in ("free", "calibrate", "fit")
    assert "frozenset" not in text


def test_a_planned_entry_says_that_it_is_not_built(strop_cli: Cli, json_value: Callable[[str], Any]) -> None:
    row = catalogue.planned()[0]
    assert "planned, not built" in strop_cli("explain", row.number).out
    page = json_value(strop_cli("explain", row.number, "--json").out)
    assert (page["life"], page["card"], page["text"]) == ("planned", None, row.summary)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("static_quantisation", "Did you mean 'static_quantization'?"),
        ("99", "there is no instruction 99"),
        ("", "no instruction ''"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest(entry: str, message: str, strop_cli: Cli) -> None:
    answer = strop_cli("explain", entry)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
