"""Build the pages that come from the code: one per instruction out of its docstring, and the catalogue's index.

usage: python scripts/build_docs.py FOLDER

Hand-written guides (``docs/*.md``) are copied beside them, so that FOLDER can be read or published by itself.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

from strop import catalogue
from strop.catalogue import Row
from strop.contract.card import Fidelity
from strop.contract.instruction import Entry
from strop.contract.pages import HEADINGS, sections, settings_lines

ROOT = Path(__file__).resolve().parents[1]

FIDELITY = {
    Fidelity.EXACT: "exact: answers are bit-equal",
    Fidelity.ROUNDING: "rounding: answers are equal within a stated tolerance",
    Fidelity.LOSSY: "lossy: answers may change, the quality guard decides",
}


def main(arguments: list[str]) -> int:
    """Build everything into the folder named on the command line; return the exit code."""
    if len(arguments) != 1:
        print("usage: python scripts/build_docs.py FOLDER", file=sys.stderr)
        return 2
    pages = build(Path(arguments[0]))
    print(f"{len(pages)} pages in {arguments[0]}")
    return 0


def build(folder: Path) -> list[Path]:
    """Write all pages into ``folder``, replacing what an earlier build left there; return their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    texts = {"index.md": index(catalogue.all())}
    texts |= {f"catalogue/{stem(row)}.md": page(row) for row in catalogue.built()}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
    written = []
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def index(rows: tuple[Row, ...]) -> str:
    """Return the catalogue as a table; what is only planned says so."""
    ready = [row for row in rows if row.cls is not None]
    lines = [
        "# The catalogue",
        "",
        f"{len(rows)} numbers: {len(ready)} built, {len(rows) - len(ready)} planned.",
        "",
        "| # | name | family | state | what it does |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"[{row.name}](catalogue/{stem(row)}.md)" if row.cls is not None else row.name
        lines.append(f"| {row.number:02d} | {name} | {row.family} | {row.life} | {row.summary} |")
    return "\n".join(lines) + "\n"


def page(row: Row) -> str:
    """Return the page of one built entry: the facts of its card, then the sections of its docstring."""
    if row.cls is None:
        raise ValueError(f"{row.number:02d} {row.name} is planned; it has no page.")
    card, text = row.cls.card, sections(row.cls)
    facts = {
        "family": row.family,
        "state": row.life,
        "improves": ", ".join(sorted(card.aims)),
        "fidelity": FIDELITY[card.fidelity],
        "needs": f"`pip install 'strop[{card.extra}]'`" if card.extra else "nothing beyond the core",
        "also known as": ", ".join(card.aliases) or "-",
    }
    lines = [f"# {row.number:02d} {row.name}", "", f"{row.summary}.", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items()]
    for heading in HEADINGS:
        lines += ["", f"## {heading}", "", settings(row.cls) if heading == "Settings" else text[heading]]
    return "\n".join(lines) + "\n"


def settings(cls: type[Entry]) -> str:
    """Return the settings as a list: name, default, description."""
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # every entry is a dataclass
    lines = [f"- `{name}` (default `{defaults[name]!r}`): {text}" for name, text in settings_lines(cls).items()]
    return "\n".join(lines) or "None."


def stem(row: Row) -> str:
    """Return the file name of an entry's page, without its suffix."""
    return f"{row.number:02d}-{row.name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
