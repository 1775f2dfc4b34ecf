"""An entry's page is its docstring: a summary line and five headings, read here for the terminal, the docs and the laws."""

from __future__ import annotations

import inspect
import re

HEADINGS = ("What it does", "Why it helps", "When it does not", "Settings", "References")
"""The headings of every entry's docstring, in order; each stands alone on a line and ends with a colon."""


def summary(cls: type) -> str:
    """Return the first line of the class's own docstring, without its full stop; empty when there is none."""
    return _text(cls).partition("\n")[0].rstrip(".")


def sections(cls: type) -> dict[str, str]:
    """Return heading → text of the class's docstring, dedented, in the order they stand; unknown headings are left out."""
    found: dict[str, str] = {}
    parts = re.split(rf"^({'|'.join(HEADINGS)}):[ \t]*$", _text(cls), flags=re.MULTILINE)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        found[heading] = inspect.cleandoc(body)
    return found


def settings_lines(cls: type) -> dict[str, str]:
    """Return setting → its description, read from lines ``name: text`` under *Settings*; continued lines are indented."""
    lines: dict[str, str] = {}
    name = ""
    for line in sections(cls).get("Settings", "").splitlines():
        match = re.match(r"(\w+): (.+)", line)
        if match:
            name = match[1]
            lines[name] = match[2].strip()
        elif name and line.startswith(" "):
            lines[name] += " " + line.strip()
    return lines


def _text(cls: type) -> str:
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")
