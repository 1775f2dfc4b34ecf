"""Which calls are replayed, which are not, and that a replay answers the call that came. Capturing itself is in tests/cuda."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import Draft, Graphs
from strop.contract.signature import infer_signature
from strop.contract.tally import Tally
from strop.engines import graphs as module
from strop.engines.graphs import Captured, ShapeGraphs, capture_known, compare, rehearse
from strop.errors import PrepareError
from strop.testing.models import draft_for

Forward = Callable[[Sequence[Tensor]], list[Any]]


def doubled(leaves: Sequence[Tensor]) -> list[Any]:
    return [2 * leaves[0]]


def recording(forward: Forward, made: list[tuple[int, ...]] | None = None) -> module.Capture:
    """Capture as a graph would: what is computed again is what was computed at first, from and into the same memory."""

    def capture(leaves: Sequence[Tensor]) -> Captured:
        if made is not None:
            made.append(tuple(leaves[0].shape))
        inputs = [leaf.clone() for leaf in leaves]
        outputs = forward(inputs)

        def replay() -> None:
            for memory, value in zip(outputs, forward(inputs), strict=True):
                memory.copy_(value)

        return Captured(inputs, outputs, replay)

    return capture


def never(leaves: Sequence[Tensor]) -> list[Any]:
    raise AssertionError("nothing is launched kernel by kernel here")


def test_each_shape_is_captured_once_and_every_call_gets_its_own_answer() -> None:
    made: list[tuple[int, ...]] = []
    graphs = ShapeGraphs(never, recording(doubled, made), 8)
    calls = [torch.full(shape, float(number)) for number, shape in enumerate([(1, 2), (3, 2), (1, 2), (3, 2), (1, 2)])]
    answers = [graphs([call])[0] for call in calls]
    assert made == [(1, 2), (3, 2)] and len(graphs) == 2
    assert all(torch.equal(answer, 2 * call) for answer, call in zip(answers, calls, strict=True)), "none is overwritten later"
    assert graphs.tally.to_json() == {"shapes captured": 2}


def test_another_dtype_is_another_shape() -> None:
    graphs = ShapeGraphs(never, recording(doubled), 8)
    assert (
        graphs([torch.ones(2)])[0].dtype == torch.float32 and graphs([torch.ones(2, dtype=torch.int64)])[0].dtype == torch.int64
    )
    assert len(graphs) == 2


def test_shapes_beyond_the_bound_are_launched_plainly_and_counted() -> None:
    plain: list[int] = []

    def noted(leaves: Sequence[Tensor]) -> list[Any]:
        plain.append(len(leaves[0]))
        return doubled(leaves)

    graphs = ShapeGraphs(noted, recording(doubled), 2)
    for rows in (1, 2, 3, 1, 4, 3):
        assert torch.equal(graphs([torch.ones(rows)])[0], torch.full((rows,), 2.0))
    assert plain == [3, 4, 3] and len(graphs) == 2
    assert graphs.tally.to_json() == {"calls beyond the bound": 3, "shapes captured": 2}


def test_calls_from_several_threads_do_not_mix() -> None:
    graphs, start = ShapeGraphs(never, recording(doubled), 8), threading.Barrier(8)

    def call(number: int) -> bool:
        start.wait()
        return all(torch.equal(graphs([torch.full((4,), float(number))])[0], torch.full((4,), 2.0 * number)) for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(8)))
    assert len(graphs) == 1


def test_what_cannot_be_captured_is_an_error_each_time_and_no_other_answer() -> None:
    def fail(leaves: Sequence[Tensor]) -> Captured:
        raise PrepareError("planted")

    graphs = ShapeGraphs(doubled, fail, 8)
    for _ in range(2):
        with pytest.raises(PrepareError, match="planted"):
            graphs([torch.ones(2)])
    assert len(graphs) == 0 and graphs.tally.total == 0


def test_known_shapes_are_captured_before_the_first_call() -> None:
    made: list[tuple[int, ...]] = []
    graphs = ShapeGraphs(never, recording(doubled, made), 8)
    capture_known(graphs, [((3, 2),), ((1, 2),)], infer_signature([torch.ones(1, 2)], [torch.ones(1)]))
    assert made == [(3, 2), (1, 2)]
    with torch.inference_mode():
        graphs([torch.ones(3, 2)])
    assert len(made) == 2


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor in the place of the accelerator."""
    monkeypatch.setattr(module, "hosted", lambda forward, device: forward)
    monkeypatch.setattr(module, "cuda_capture", lambda forward, device, model: recording(forward))


def draft(model: nn.Module, rows: Sequence[int], shapes: int = 64) -> Draft:
    made = draft_for(model, [torch.randn(n, 4) for n in rows])
    made.workload = replace(made.workload, device="cuda")
    made.graphs = Graphs(shapes=shapes, tally=Tally())
    return made


def forward_of(draft: Draft) -> Forward:
    return lambda leaves: [draft.model(*leaves)]


@pytest.mark.usefixtures("planted")
def test_a_rehearsal_counts_the_shapes_of_the_examples_and_keeps_the_most_frequent() -> None:
    found = draft(nn.Linear(4, 2), [8, 3, 2, 2, 3, 2, 1], shapes=2)
    assert rehearse(forward_of(found), found) == [((3, 4),), ((2, 4),)]
    assert found.graphs is not None
    assert found.graphs.tally.to_json() == {"shapes beyond the bound": 2, "shapes captured": 2}


class Counting(nn.Module):
    """Answers by how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


@pytest.mark.usefixtures("planted")
def test_a_model_that_keeps_state_is_found_and_named() -> None:
    found = draft(Counting(), [2, 2])
    with pytest.raises(PrepareError, match="Counting answers otherwise when its captured launches are replayed"):
        rehearse(forward_of(found), found)


@pytest.mark.parametrize(("departs", "tolerance", "held"), [(1e-5, 1e-3, True), (1e-2, 1e-3, False), (1e-2, 5e-2, True)])
def test_rounding_is_no_other_answer(departs: float, tolerance: float, held: bool) -> None:
    wanted, got = [torch.ones(3)], [torch.ones(3) * (1 + departs)]
    if held:
        compare(wanted, got, "Net", tolerance)
    else:
        with pytest.raises(PrepareError, match="Net answers otherwise"):
            compare(wanted, got, "Net", tolerance)


def test_an_answer_that_is_no_number_is_another_answer() -> None:
    with pytest.raises(PrepareError, match="by inf"):
        compare([torch.ones(2)], [torch.tensor([1.0, float("nan")])], "Net", 1e-3)
