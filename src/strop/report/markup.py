"""Pieces of the page: typeset words, tables and figures. Everything that comes in is text and goes out escaped."""

from __future__ import annotations

import re
from html import escape

from strop.report.tables import Cell, Table
from strop.units import NOT_MEASURED

LONG = 34
"""Cells up to this many characters stay on one line."""


def typeset(words: str, *, intervals: bool = False) -> str:
    """Escape; keep a number and its unit on one line; let a bracketed interval step back behind its estimate."""
    text = re.sub(r"(?<=\d) (?=(?:[mnµ]?s|[kKMGT]?B|[mh])\b|%)", "\u00a0", escape(words))
    return re.sub(r"(\[[-−+0-9.∞, ]+\])", r'<span class="ci n">\1</span>', text) if intervals else text


def figure(drawing: str, caption: str, name: str) -> str:
    """Frame an inline drawing; without one, say that it was not measured."""
    if not drawing:
        return f'<p class="muted">{escape(name)}: {NOT_MEASURED}</p>'
    return f'<figure><div class="scroll">{drawing}</div><figcaption>{typeset(caption)}</figcaption></figure>'


def table(data: Table) -> str:
    """Draw a table with row and column headings; without rows, say so."""
    if not data.rows:
        return f'<p class="muted">{escape(data.title)}: {escape(data.empty)}</p>'
    head, width = "", "keys"
    if any(data.columns):
        cells = "".join(f'<th scope="col"{_class("r" if c in data.right else "")}>{escape(c)}</th>' for c in data.columns)
        head = f"<thead><tr>{cells}</tr></thead>"
        width = {2: "slim", 4: "half"}.get(len(data.columns), "") if data.right else ""
    rows = "".join(f"<tr>{''.join(_cell(data, n, cell) for n, cell in enumerate(row))}</tr>" for row in data.rows)
    note = f'<p class="note">{typeset(data.note)}</p>' if data.note else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(data.title)}"><table{_class(width)}>{head}'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _cell(data: Table, place: int, cell: Cell) -> str:
    column = data.columns[place]
    names = [
        cell.tone,
        "id" if column == "Trial" else "",
        "r" if column in data.right else "",
        "w" if len(cell.text) > LONG or len(cell.sub) > LONG else "",
    ]
    text = typeset(cell.text, intervals="[" in column or cell.tone == "screen")
    if len(cell.text) <= LONG:
        text = f'<span class="n">{text}</span>'
    sub = f'<span class="sub">{typeset(cell.sub)}</span>' if cell.sub else ""
    name, scope = ("th", ' scope="row"') if place == 0 else ("td", "")
    return f"<{name}{scope}{_class(*names)}>{text}{sub}</{name}>"


def _class(*names: str) -> str:
    given = " ".join(n for n in names if n)
    return f' class="{given}"' if given else ""
