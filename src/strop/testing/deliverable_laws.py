"""The laws every deliverable keeps, as functions and as a pytest suite for authors of deliverables.

In a test file of your own::

    class TestMine(DeliverableLaws):
        deliverable = Mine(limit=3)

        @pytest.fixture
        def bundle(self) -> Bundle: ...
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pytest
import yaml

from strop.contract.card import Card
from strop.contract.instruction import Bundle, Deliverable, identity
from strop.contract.settings import decode, encode
from strop.testing.case import LawBroken
from strop.testing.laws import check_docstring, check_import, process_state


def law_form(deliverable: Deliverable, bundle: Bundle) -> None:
    """A final, frozen, keyword-only dataclass with a card, in a file named after its number and name."""
    cls = type(deliverable)
    identity(cls)
    parameters = getattr(cls, "__dataclass_params__", None)
    if not getattr(cls, "__final__", False) or parameters is None or not parameters.frozen:
        raise LawBroken(f"{cls.__name__} must be a @final @dataclass(frozen=True, kw_only=True)")
    if not all(field.kw_only for field in dataclasses.fields(cls)):  # type: ignore[arg-type]
        raise LawBroken(f"{cls.__name__}: settings must be keyword-only")
    if not isinstance(cls.card, Card):
        raise LawBroken(f"{cls.__name__} has no card")


def law_docstring(deliverable: Deliverable, bundle: Bundle) -> None:
    """A summary line, the five headings, and one line with a unit for every setting."""
    check_docstring(type(deliverable))


def law_import(deliverable: Deliverable, bundle: Bundle) -> None:
    """Importing it needs no extra and changes nothing of the process."""
    check_import(type(deliverable))


def law_settings(deliverable: Deliverable, bundle: Bundle) -> None:
    """Settings survive YAML as text and are read back by field type."""
    plain = yaml.load(yaml.safe_dump(encode(deliverable)), Loader=yaml.BaseLoader)  # noqa: S506 - text, lists and dicts only
    read = decode(type(deliverable), plain)
    if read != deliverable:
        raise LawBroken(f"{deliverable} came back from YAML as {read}")


def law_files(deliverable: Deliverable, bundle: Bundle) -> None:
    """It renders files, none of them empty, under names that stay inside the folder they are written to."""
    files: Mapping[str, object] = deliverable.render(bundle)
    if not files:
        raise LawBroken("it renders no file")
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or path.as_posix() != name:
            raise LawBroken(f"{name!r} is not a plain relative path")
        if not isinstance(content, bytes) or not content:
            raise LawBroken(f"{name} must hold bytes, and some")


def law_pure(deliverable: Deliverable, bundle: Bundle) -> None:
    """The same bundle gives the same bytes; bundle and process are as before."""
    before, state = _digests(bundle.folder), process_state()
    first, second = dict(deliverable.render(bundle)), dict(deliverable.render(bundle))
    if first != second:
        raise LawBroken(f"rendered twice, these differ: {sorted(n for n in first if first[n] != second.get(n))}")
    if _digests(bundle.folder) != before:
        raise LawBroken("rendering changed the bundle")
    if process_state() != state:
        raise LawBroken("rendering changed the process")


Law = Callable[[Deliverable, Bundle], None]
LAWS: tuple[Law, ...] = (law_form, law_docstring, law_import, law_settings, law_files, law_pure)


class DeliverableLaws:
    """All laws as pytest tests; subclass it as ``Test…``, set ``deliverable`` and define a fixture ``bundle``."""

    deliverable: ClassVar[Deliverable]

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_law(self, law: Law, bundle: Bundle) -> None:
        """Keep one law."""
        law(self.deliverable, bundle)


def _digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
