from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strop.measure.plan import ConfirmPlan
from strop.search import bench as module
from strop.search.bench import Bench

PLAN = ConfirmPlan(rounds=5, least=3, pairs=4)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """A bench whose processes are no processes: it is about when a round is begun, and what is returned."""

    @contextlib.contextmanager
    def seated(self: Bench, prepared: Any, name: str) -> Iterator[Any]:
        yield SimpleNamespace(profile={})

    def take(self: Bench, name: str, baseline: Any, candidate: Any, blocks: Any, *, index: int, round: int) -> Any:
        return SimpleNamespace(index=index, round=round)

    monkeypatch.setattr(Bench, "seated", seated)
    monkeypatch.setattr(Bench, "_pair", take)
    monkeypatch.setattr(module, "block_plan", lambda *_: None)
    made: Any = SimpleNamespace
    return Bench(made(), ("all",), seed=0, logs=tmp_path, observer=lambda event: None, warm=1.0)


def rounds(pairs: list[Any]) -> list[int]:
    return sorted({pair.round for pair in pairs})


def test_all_planned_rounds_are_taken_while_they_fit(bench: Bench) -> None:
    pairs = bench.confirm("claim", SimpleNamespace(), SimpleNamespace(), PLAN)  # type: ignore[arg-type]
    assert (rounds(pairs), len(pairs)) == ([0, 1, 2, 3, 4], 20)


def test_a_round_that_does_not_fit_is_not_begun(bench: Bench) -> None:
    begun: list[int] = []
    asked: list[float] = []

    def fits(seconds: float) -> bool:
        asked.append(seconds)
        return seconds == 0.0 or len(begun) < 3  # zero is asked before each pair and before the first round

    pairs = bench.confirm(
        "claim",
        SimpleNamespace(),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
        PLAN,
        told=lambda number, *_: begun.append(number),
        fits=fits,
    )
    assert (rounds(pairs), len(pairs)) == ([0, 1, 2], 12)
    assert asked[-1] > 0.0, "the length of the longest round so far is what must fit"


def test_a_round_that_the_end_of_time_cut_off_is_left_out(bench: Bench) -> None:
    left = iter([True] * 12)
    pairs = bench.confirm(
        "claim",
        SimpleNamespace(),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
        PLAN,
        fits=lambda seconds: next(left, False),
    )
    assert (rounds(pairs), len(pairs)) == ([0, 1], 8)
