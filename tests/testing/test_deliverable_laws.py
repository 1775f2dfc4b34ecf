"""Each law of deliverables notices its planted offence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pytest

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Bundle, Deliverable
from strop.deliverables.deployment.i51_performance_dashboard import PerformanceDashboard
from strop.testing.case import LawBroken
from strop.testing.deliverable_laws import law_files, law_form, law_pure, law_settings

CARD = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)


@dataclass(frozen=True)
class Stored:
    """A bundle on disk."""

    folder: Path


@final
@dataclass(frozen=True, kw_only=True)
class Planted(Deliverable):
    """Renders what it is told to, and does something beside it."""

    card = CARD
    files: Any = None
    act: Any = None
    calls: list[int] = field(default_factory=list)

    def render(self, bundle: Bundle) -> Mapping[str, bytes]:
        self.calls.append(1)
        if self.act:
            self.act(bundle, len(self.calls))
        return self.files(len(self.calls)) if callable(self.files) else self.files


@pytest.fixture
def bundle(tmp_path: Path) -> Stored:
    (tmp_path / "weights").write_bytes(b"1")
    return Stored(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no file"),
        ({"/a": b"1"}, "plain relative path"),
        ({"../a": b"1"}, "plain relative path"),
        ({"a/../../b": b"1"}, "plain relative path"),
        ({"a\\b": b"1"}, "plain relative path"),
        ({"a": b""}, "must hold bytes"),
        ({"a": "text"}, "must hold bytes"),
    ],
)
def test_files_that_could_land_elsewhere_or_hold_nothing_are_found(files: Any, words: str, bundle: Stored) -> None:
    with pytest.raises(LawBroken, match=words):
        law_files(Planted(files=files), bundle)
    law_files(Planted(files={"a/b.yml": b"1"}), bundle)


def test_other_bytes_the_second_time_are_found(bundle: Stored) -> None:
    with pytest.raises(LawBroken, match="rendered twice, these differ: \\['a'\\]"):
        law_pure(Planted(files=lambda call: {"a": b"%d" % call, "b": b"1"}), bundle)
    law_pure(Planted(files={"a": b"1"}), bundle)


def test_a_changed_bundle_or_process_is_found(bundle: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LawBroken, match="changed the bundle"):
        law_pure(Planted(files={"a": b"1"}, act=lambda given, call: (given.folder / "weights").write_bytes(b"2")), bundle)
    with pytest.raises(LawBroken, match="changed the process"):
        law_pure(Planted(files={"a": b"1"}, act=lambda given, call: monkeypatch.setenv("PLANTED", str(call))), bundle)


def test_a_class_that_anybody_may_change_or_extend_is_found(bundle: Stored) -> None:
    @dataclass
    class Open(PerformanceDashboard.__base__):  # type: ignore[misc, name-defined]
        """Not final, not frozen."""

        card = CARD

        def render(self, bundle: Bundle) -> Mapping[str, bytes]:
            return {}

    Open.__module__ = PerformanceDashboard.__module__
    with pytest.raises(LawBroken, match="must be a @final @dataclass"):
        law_form(Open(), bundle)
    law_form(PerformanceDashboard(), bundle)


def test_settings_that_yaml_does_not_bring_back_are_found(bundle: Stored) -> None:
    law_settings(PerformanceDashboard(latency=1e-5, model="off"), bundle)
    with pytest.raises(LawBroken, match="came back from YAML as"):
        law_settings(Planted(files="1", act="x", calls=[2]), bundle)
