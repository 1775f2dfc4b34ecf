"""The catalogue: finds every entry, gives it by number or name, and reads and writes recipes."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from strop.contract.card import Family, Life
from strop.contract.instruction import Entry, Instruction, identity
from strop.contract.pages import summary
from strop.contract.planned import PLANNED
from strop.contract.recipe import Recipe
from strop.contract.settings import decode
from strop.errors import RecipeError, UsageError, did_you_mean

KINDS = ("instructions", "inspections", "deliverables")
"""Folders of entries; each holds one folder per family."""

ENTRY_POINTS = "strop.instructions"
"""Group by which other distributions add entries: each value is a package with folders ``<family>/iNN_<name>.py``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number of the catalogue.

    Attributes:
        number: unique.
        name: unique, as recipes write it.
        family: the folder it lives in.
        life: how settled it is; ``planned`` means that nothing is built.
        summary: one line.
        cls: the entry's class; ``None`` when planned.
    """

    number: int
    name: str
    family: Family
    life: Life
    summary: str
    cls: type[Entry] | None = None

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names users know it by."""
        return self.cls.card.aliases if self.cls is not None else ()


@functools.cache
def all() -> tuple[Row, ...]:
    """Return every row, built and planned, in numeric order.

    Importing an entry never needs an extra; an entry whose file fails to import is an error, never left out.

    Raises:
        UsageError: two entries share a number or name, or a file does not hold exactly one entry.
    """
    rows = [_row(cls) for cls in _found()]
    rows += [Row(p.number, p.name, p.family, Life.PLANNED, p.summary) for p in PLANNED]
    rows.sort(key=lambda row: row.number)
    _refuse_duplicates(rows)
    return tuple(rows)


def built() -> tuple[Row, ...]:
    """Return the rows that exist, in numeric order."""
    return tuple(row for row in all() if row.cls is not None)


def planned() -> tuple[Row, ...]:
    """Return the rows that do not exist yet, in numeric order."""
    return tuple(row for row in all() if row.cls is None)


def row(key: int | str) -> Row:
    """Return a row by number (``29`` or ``"29"``), name or alias, built or planned.

    Raises:
        RecipeError: nothing has that number or name; the message names the nearest.
    """
    text = str(key).strip()
    if text.isdecimal():
        for candidate in all():
            if candidate.number == int(text):
                return candidate
        raise RecipeError(f"there is no instruction {text}; numbers run from 1 to {all()[-1].number}. Run: strop list")
    word = text.lower().replace("-", "_")
    for candidate in all():
        if word == candidate.name or word in candidate.aliases:
            return candidate
    names = [name for r in all() for name in (r.name, *r.aliases)]
    raise RecipeError(f"there is no instruction {text!r}.{did_you_mean(word, names)}")


def get(key: int | str) -> type[Entry]:
    """Return an entry's class by number, name or alias.

    Raises:
        RecipeError: unknown, or planned and not built.
    """
    found = row(key)
    if found.cls is None:
        raise RecipeError(f"instruction {found.number:02d} {found.name} is planned, not built. Run: strop list")
    return found.cls


def read_recipe(source: str | Path) -> Recipe:
    """Read a recipe from YAML text, or from the file at a path.

    A string of one line is a path, unless it holds a brace or begins with ``strop:``.

    Scalars stay text until the field's type reads them, so ``1e-5`` is a number and ``off`` is not a text.

    Raises:
        RecipeError: not YAML, another format version, an unknown name or setting (with the nearest), a planned
            instruction, or one named twice.
    """
    is_text = isinstance(source, str) and (source.startswith("strop:") or any(mark in source for mark in "\n{"))
    text = str(source) if is_text else _file(Path(source))
    where = "the recipe" if is_text else str(source)
    try:
        tree = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a BaseLoader, which builds text, lists and dicts only
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not readable YAML: {error}") from error
    rows = _instructions(tree, where)
    return Recipe(_instruction(name, settings) for name, settings in rows.items())


def recipe_from_json(rows: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Build a recipe from name → settings, as :meth:`Recipe.to_json` gives it."""
    return Recipe(_instruction(name, dict(settings)) for name, settings in rows.items())


def write_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML that :func:`read_recipe` reads back; settings at their defaults are left out."""
    tree = {"strop": 1, "instructions": recipe.to_json()}
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


class _UniqueKeys(yaml.BaseLoader):
    """Text, lists and dicts only; a key that stands twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} appears more than once", node.start_mark)
        return dict(super().construct_mapping(node, deep=deep))


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} cannot be read ({error}). Give a YAML file or its text.") from error


def _instructions(tree: Any, where: str) -> dict[str, Any]:
    if not isinstance(tree, dict) or str(tree.get("strop", "")) != "1":
        raise RecipeError(f"{where} is not a strop recipe: its first line must be 'strop: 1'.")
    for key in tree:
        if key not in ("strop", "instructions"):
            raise RecipeError(f"{where} has an unknown key {key!r}.{did_you_mean(str(key), ('strop', 'instructions'))}")
    rows = tree.get("instructions") or {}
    if not isinstance(rows, dict):
        raise RecipeError(f"{where}: 'instructions' must map names to settings, for instance 'amp_optimizer: {{}}'.")
    return rows


def _instruction(name: str, settings: Any) -> Instruction:
    cls = get(name)
    if not issubclass(cls, Instruction):
        raise RecipeError(f"{name} changes nothing in a model, so a recipe cannot hold it. Run: strop explain {name}")
    if settings and not isinstance(settings, dict):
        raise RecipeError(f"{name}: settings must be a mapping, for instance {{}}; got {settings!r}.")
    return decode(cls, settings or {})


def _found() -> Iterator[type[Entry]]:
    own = [f"strop.{kind}" for kind in KINDS if (Path(__file__).parent / kind).is_dir()]
    for package in (*own, *(point.value for point in entry_points(group=ENTRY_POINTS))):
        for folder in importlib.import_module(package).__path__:
            for path in sorted(Path(folder).glob("*/i[0-9][0-9]_*.py")):
                yield _entry(importlib.import_module(f"{package}.{path.parent.name}.{path.stem}"))


def _entry(module: ModuleType) -> type[Entry]:
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Entry) and value.__module__ == module.__name__
    ]
    if len(classes) != 1 or inspect.isabstract(classes[0]):
        names = ", ".join(c.__name__ for c in classes) or "none"
        raise UsageError(f"{module.__name__} must define exactly one concrete entry; it defines: {names}.")
    return classes[0]


def _row(cls: type[Entry]) -> Row:
    number, name = identity(cls)
    folder = cls.__module__.split(".")[-2]
    if folder not in set(Family):
        raise UsageError(f"{cls.__module__} must lie in a folder named after its family: {', '.join(Family)}.")
    return Row(number, name, Family(folder), cls.card.life, summary(cls), cls)


def _refuse_duplicates(rows: Iterable[Row]) -> None:
    seen: dict[int | str, Row] = {}
    for candidate in rows:
        keys: tuple[int | str, ...] = (candidate.number, candidate.name, *candidate.aliases)
        for key in keys:
            other = seen.setdefault(key, candidate)
            if other is not candidate:
                raise UsageError(
                    f"two entries of the catalogue share {key!r}: {other.number:02d} {other.name} and "
                    f"{candidate.number:02d} {candidate.name}. Remove one of the distributions that bring them."
                )
