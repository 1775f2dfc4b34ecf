"""Write the two files of a new instruction: its code and its test.

usage: python scripts/new_instruction.py NAME --family FAMILY

The number is the next free one, or the reserved one when NAME is a planned entry. Nothing else is edited: catalogue,
documentation, command line and search find the file by its place.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from strop import catalogue
from strop.contract.card import Family

ROOT = Path(__file__).resolve().parents[1]

CODE = '''"""Instruction {number:02d}: say in a few words what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from strop.contract.card import Aim, Card, Fidelity, Life
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.tally import Tally
from strop.contract.ties import Ties, ties
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class {cls}(Instruction):
    """Say in one line what it does to the model.

    What it does:
        The change, exactly.

    Why it helps:
        The cost that goes away, and where that cost matters.

    When it does not:
        Models and machines on which it gains nothing or loses.

    Settings:
        smallest: modules with fewer parameters are left alone (parameters).

    References:
        The paper or the formula.
    """

    card = Card(aims=frozenset({{Aim.LATENCY}}), fidelity=Fidelity.ROUNDING, life=Life.PREVIEW)

    smallest: int = 1024

    def ties(self) -> Ties:
        """Need, add and exclude nothing."""
        return ties()

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline when no module is large enough."""
        sizes = [sum(p.numel() for p in module.parameters(recurse=False)) for module in draft.model.modules()]
        if max(sizes, default=0) < self.smallest:
            return f"no module holds {{self.smallest}} parameters or more"
        return None

    def at_freeze(self, draft: Draft, tally: Tally) -> None:
        """Change the modules of ``draft.model`` and count each change."""
        tally.add("modules changed", 0)
'''

TEST = """from __future__ import annotations

from pathlib import Path

from strop.instructions.{family}.i{number:02d}_{name} import {cls}
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import conv_draft, mlp_draft


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction={cls}(smallest=1),
        draft=mlp_draft,
        declined={cls}(smallest=10**9),
        idle=({cls}(smallest=1), conv_draft),
    )


def test_every_change_is_counted(tmp_path: Path) -> None:
    assert TestLaws.case.prepare(tmp_path).tallies == {{"{name}": {{"modules changed": 1}}}}
"""


def main(arguments: list[str]) -> int:
    """Write the files and say what to do next; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", help="lower_case_with_underscores")
    parser.add_argument("--family", required=True, choices=[family.value for family in Family])
    chosen = parser.parse_args(arguments)
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", chosen.name):
        parser.error(f"a name is written lower_case_with_underscores; got {chosen.name!r}")
    try:
        written = scaffold(chosen.name, chosen.family, ROOT)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for path in written:
        print(path.relative_to(ROOT))
    if any(row.name == chosen.name for row in catalogue.planned()):
        print(f"{chosen.name} was planned: take its row out of src/strop/contract/planned.py.")
    print(f"Next: write what it does, then run: pytest {written[1].relative_to(ROOT)}")
    return 0


def scaffold(name: str, family: str, root: Path) -> tuple[Path, Path]:
    """Write code and test of an instruction under ``root``.

    Returns:
        The code file and the test file.

    Raises:
        ValueError: the name is built already, is planned in another family, or a file is in the way.
    """
    number = number_for(name, family)
    words = {"name": name, "family": family, "number": number, "cls": "".join(part.capitalize() for part in name.split("_"))}
    code = root / "src" / "strop" / "instructions" / family / f"i{number:02d}_{name}.py"
    test = root / "tests" / "instructions" / family / f"test_{code.name}"
    for path in (code, test):
        if path.exists():
            raise ValueError(f"{path} exists already; nothing was written.")
    for path, text in ((code, CODE), (test, TEST)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words), encoding="utf-8")
    package = code.parent / "__init__.py"
    if not package.exists():
        package.write_text(f'"""Instructions of the family {family}."""\n', encoding="utf-8")
    return code, test


def number_for(name: str, family: str) -> int:
    """Return the number a new entry gets: the reserved one of a planned name, else the next after the last.

    Raises:
        ValueError: the name is built already, or planned in another family.
    """
    rows = catalogue.all()
    known = next((row for row in rows if name == row.name or name in row.aliases), None)
    if known is None:
        return rows[-1].number + 1
    if known.cls is not None:
        raise ValueError(f"{name} is built already: {known.cls.__module__}. Choose another name.")
    if known.family != family:
        raise ValueError(f"{name} is planned in the family {known.family}. Run with --family {known.family}.")
    return known.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
