"""Reserved numbers: names that can become files, families that exist, and no number that is built already."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import strop
from strop.contract.card import Family
from strop.contract.planned import PLANNED, Planned

SOURCE = Path(strop.__file__).parent
FILES = sorted(SOURCE.rglob("i[0-9][0-9]_*.py"))


@pytest.mark.parametrize("row", PLANNED, ids=lambda row: row.name)
def test_a_reserved_name_can_become_a_file_of_its_family(row: Planned) -> None:
    assert 1 <= row.number <= 99
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", row.name)
    assert isinstance(row.family, Family)
    assert row.summary[0].isupper() and row.summary == row.summary.strip()


def test_names_and_numbers_are_reserved_once() -> None:
    assert len({row.number for row in PLANNED}) == len({row.name for row in PLANNED}) == len(PLANNED)


def test_a_number_or_name_that_has_its_file_is_no_longer_reserved() -> None:
    assert FILES
    built = [re.fullmatch(r"i(\d\d)_(\w+)\.py", path.name) for path in FILES]
    assert {int(match[1]) for match in built if match}.isdisjoint(row.number for row in PLANNED)
    assert {match[2] for match in built if match}.isdisjoint(row.name for row in PLANNED)
