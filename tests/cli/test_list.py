"""``strop list``: every number once, one family on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from strop import catalogue

if TYPE_CHECKING:
    from tests.cli.conftest import Answer

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]


def test_every_number_has_its_line(strop_cli: Cli) -> None:
    answer = strop_cli("list")
    lines = answer.out.splitlines()
    assert answer.code == 0
    assert [line[:2] for line in lines[:-2]] == [f"{row.number:02d}" for row in catalogue.all()]
    assert f"{len(catalogue.all())} numbers: {len(catalogue.built())} built" in lines[-1]
    (engine,) = (line for line in lines if line.startswith("47"))
    assert {"model_serving_framework", "deployment", "stable"} <= set(engine.split())


def test_json_holds_the_same(strop_cli: Cli, json_value: Json) -> None:
    rows = json_value(strop_cli("list", "--json").out)
    assert [row["number"] for row in rows] == [row.number for row in catalogue.all()]
    assert {row["life"] for row in rows} >= {"planned", "stable"}
    assert set(rows[0]) == {"number", "name", "family", "life", "summary"}


@pytest.mark.parametrize("family", ["data", "training", "inference", "deployment", "trust"])
def test_one_family_is_shown_alone(family: str, strop_cli: Cli, json_value: Json) -> None:
    rows = json_value(strop_cli("list", "--family", family, "--json").out)
    assert rows
    assert {row["family"] for row in rows} == {family}


def test_a_family_that_is_none_is_refused_with_the_nearest(strop_cli: Cli) -> None:
    answer = strop_cli("list", "--family", "inferense")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no family 'inferense'. Did you mean 'inference'?" in answer.err
