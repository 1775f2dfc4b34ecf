"""What an engine answers unless it says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine, Program, Source
from strop.contract.signature import Signature
from strop.contract.ties import Trait
from strop.errors import PrepareError
from strop.measure.host import Host
from strop.testing.models import mlp_draft

HOST = Host(cpu="a test CPU", cores=2)


class Echo(Program):
    """Answers what it is given."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


class Bare(Engine):
    """Only what must be there."""

    name: ClassVar[str] = "bare"
    extra: ClassVar[str | None] = None
    adds: ClassVar[frozenset[Trait]] = frozenset()

    def available(self) -> bool:
        return True

    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        (folder / "nothing").touch()

    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        return Echo()


def test_a_bare_engine_declines_nothing_and_converts_nothing(tmp_path: Path) -> None:
    engine = Bare()
    assert engine.decline(mlp_draft(), HOST) is None
    assert not engine.converts
    with pytest.raises(PrepareError, match="bare lowers a model directly and converts no graph"):
        engine.convert(mlp_draft(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_dangerous_is_assumed() -> None:
    assert not Bare.runs_code and not Bare.needs_source and not Bare.imports_torch


@pytest.mark.parametrize("missing", ["available", "lower", "open"])
def test_an_engine_must_say_whether_it_is_there_how_it_lowers_and_how_it_opens(missing: str) -> None:
    parts = {name: value for name, value in vars(Bare).items() if name in {"available", "lower", "open"} - {missing}}
    with pytest.raises(TypeError, match=f"abstract.*{missing}"):
        type("Incomplete", (Engine,), parts)()


def test_a_program_must_answer_and_may_be_closed() -> None:
    program = Echo()
    assert program(1, x=2) == ((1,), {"x": 2})
    program.close()
    with pytest.raises(TypeError, match=r"abstract.*__call__"):
        type("Mute", (Program,), {})()
