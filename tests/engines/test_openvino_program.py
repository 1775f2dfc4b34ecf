"""Running a compiled model: no call sees another's numbers, and only as many shapes are compiled as are held."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop.contract.draft import EngineOptions
from strop.contract.signature import Signature, TensorSpec, infer_signature
from strop.engines.buckets import BucketPlan, Padder, plan_buckets
from strop.engines.openvino_program import BucketStore, ExactShapes, OpenVinoProgram, PaddedShapes
from strop.engines.quiet import import_openvino
from strop.engines.ragged import Group
from strop.errors import WorkloadError

openvino = import_openvino()


class PerRow(torch.nn.Module):
    """Two answers of two inputs, in another order than they came; any batch, any length."""

    def forward(self, ids: torch.Tensor, unused: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return scale * 2, ids + 1


@pytest.fixture(scope="module")
def model() -> Any:
    """The converted model, its dimensions open, each input named by its place among the arguments."""
    dim = torch.export.Dim.AUTO
    x = [torch.ones(2, 3) for _ in range(3)]  # one tensor three times would be exported as one input
    program = torch.export.export(
        PerRow(), tuple(x), dynamic_shapes={name: {0: dim, 1: dim} for name in ("ids", "unused", "scale")}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter copies graphs through deprecated parts of torch
        made = openvino.convert_model(program)
    for port in made.inputs:
        (place,) = [n for n, name in enumerate(program.graph_signature.user_inputs) if name in port.get_names()]
        port.get_tensor().set_names({f"input_{place}"})
    return made


def compiled(model: Any, shape: tuple[int, ...] | None = None) -> Any:
    if shape is not None:
        model = model.clone()
        model.reshape({port: list(shape) for port in range(len(model.inputs))})
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})


def order(model: Any) -> list[int | None]:
    """Return for each of the three arguments its port, or ``None`` where the converter dropped it."""
    ports = {name: number for number, port in enumerate(model.inputs) for name in port.get_names()}
    return [ports.get(f"input_{place}") for place in range(3)]


def arrays(batch: int, length: int, seed: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(batch, length)).astype(np.float32) for _ in range(3)]


def wanted(call: Sequence[Any]) -> list[Any]:
    return [call[2] * 2, call[0] + 1]


@pytest.fixture(scope="module")
def exact(model: Any) -> ExactShapes:
    return ExactShapes(compiled(model), order(model))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 2), (0, 4)])
def test_any_shape_is_answered_as_it_is(shape: tuple[int, int], exact: ExactShapes) -> None:
    call = arrays(*shape)
    for got, want in zip(exact.run(call), wanted(call), strict=True):
        np.testing.assert_array_equal(got, want)


def test_answers_are_fresh_and_inputs_are_left_alone(exact: ExactShapes) -> None:
    call = arrays(2, 3)
    before = [array.copy() for array in call]
    first = exact.run(call)
    kept = [array.copy() for array in first]
    second = exact.run(arrays(2, 3, seed=1))
    for answer in second:
        answer.fill(-1)
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True)), "later calls do not write into earlier answers"
    assert all(np.array_equal(a, b) for a, b in zip(call, before, strict=True))
    assert not any(np.shares_memory(answer, array) for answer in first for array in call)


def test_arrays_that_may_not_be_written_are_read(exact: ExactShapes) -> None:
    call = arrays(2, 3)
    for array in call:
        array.flags.writeable = False
    np.testing.assert_array_equal(exact.run(call)[1], call[0] + 1)


def test_one_request_serves_calls_that_come_one_after_another(model: Any) -> None:
    runner = ExactShapes(compiled(model), order(model))
    for seed in range(5):
        runner.run(arrays(1, 2, seed))
    assert len(runner._free) == 1


def in_threads(count: int, work: Any) -> None:
    """Let ``count`` threads begin at the same moment."""
    barrier = Barrier(count)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_padding_is_zero_whatever_an_earlier_call_left_in_the_buffers(model: Any) -> None:
    runner = PaddedShapes(compiled(model, (2, 6)), order(model), ((2, 6),) * 3)
    full, short = [np.full((2, 6), 9, np.float32)] * 3, arrays(1, 4)
    cuts: list[tuple[slice, ...]] = [(), ()]
    runner.run(full, cuts)
    doubled, plus_one = runner.run(short, cuts)
    np.testing.assert_array_equal(doubled, np.pad(short[2] * 2, [(0, 1), (0, 2)]))
    np.testing.assert_array_equal(plus_one, np.pad(short[0], [(0, 1), (0, 2)]) + 1)


def test_answers_are_cut_to_the_call_and_stay_its_own(model: Any) -> None:
    runner = PaddedShapes(compiled(model, (2, 6)), order(model), ((2, 6),) * 3)
    call = arrays(2, 4)
    cut = (slice(None), slice(4))
    first = runner.run(call, [cut, cut])
    runner.run(arrays(2, 6, seed=1), [(), ()])
    for got, want in zip(first, wanted(call), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("padded", [False, True])
def test_threads_do_not_share_a_request(padded: bool, model: Any, exact: ExactShapes) -> None:
    runner = PaddedShapes(compiled(model, (2, 6)), order(model), ((2, 6),) * 3)
    wrong: list[int] = []

    def work(number: int) -> None:
        for seed in range(20):
            call = arrays(2, 6, seed=100 * number + seed)
            got = runner.run(call, [(), ()]) if padded else exact.run(call)
            if not all(np.array_equal(a, b) for a, b in zip(got, wanted(call), strict=True)):
                wrong.append(number)

    in_threads(4, work)
    assert wrong == []


# buckets -----------------------------------------------------------------------------------------------------------


class Recorder:
    """Stands for a compiled shape: answers with the shape it was compiled for, and remembers what was compiled."""

    def __init__(self) -> None:
        self.compiled: list[Any] = []

    def compile(self, shapes: Any) -> Any:
        self.compiled.append(shapes)
        return SimpleNamespace(run=lambda given, cuts: [shapes, cuts])


def padder(count: int = 2) -> Padder:
    spec = TensorSpec(name="x", dtype="float32", shape=(None, None))
    shapes = [[(1, 4)], [(1, 6)], [(1, 9)], [(2, 9)]]
    plan: BucketPlan = plan_buckets([spec], [spec], shapes, shapes)
    assert plan.reason == ""
    return Padder(plan, count)


def at(batch: int, length: int) -> list[Any]:
    return [np.zeros((batch, length), np.float32)]


def test_a_shape_is_compiled_when_it_first_comes_and_never_again() -> None:
    recorder = Recorder()
    store = BucketStore(recorder.compile, padder(1), capacity=8)
    assert store.shapes == ()
    for length in (4, 9, 5, 9):
        answer = store.run(at(1, length), 1)
        assert answer is not None
        assert answer == [((1, 9),), [(slice(None), slice(length))]]
    assert recorder.compiled == list(store.shapes) == [((1, 9),)]


def test_what_fits_no_bucket_is_left_to_the_exact_model() -> None:
    recorder = Recorder()
    store = BucketStore(recorder.compile, padder(), capacity=8)
    assert store.run(at(1, 10), 1) is None, "longer than every edge"
    assert store.run(at(3, 4), 1) is None, "a batch that no example had"
    assert recorder.compiled == []


def test_a_full_store_compiles_no_more_and_keeps_what_it_has() -> None:
    recorder = Recorder()
    store = BucketStore(recorder.compile, padder(4), capacity=2)
    assert store.run(at(1, 4), 1) is not None and store.run(at(1, 6), 1) is not None
    assert store.run(at(1, 9), 1) is None and store.run(at(2, 4), 1) is None
    assert store.run(at(1, 3), 1) is not None, "the first bucket is still there"
    assert recorder.compiled == [((1, 4),), ((1, 6),)]


def test_threads_that_ask_for_one_new_shape_at_once_compile_it_once() -> None:
    recorder = Recorder()
    store = BucketStore(recorder.compile, padder(1), capacity=1)
    answers: list[Any] = []
    in_threads(8, lambda number: answers.append(store.run(at(1, 4), 1)))
    assert recorder.compiled == [((1, 9),)] and len(answers) == 8 and None not in answers


def test_different_shapes_are_compiled_at_the_same_time_within_the_capacity() -> None:
    meeting = Barrier(2, timeout=5)

    def compile_exact(shapes: Any) -> Any:
        meeting.wait()
        return SimpleNamespace(run=lambda given, cuts: [shapes])

    store = BucketStore(compile_exact, padder(4), capacity=2)
    answers: dict[int, Any] = {}
    in_threads(2, lambda number: answers.__setitem__(number, store.run(at(1, (4, 6)[number]), 1)))
    assert answers == {0: [((1, 4),)], 1: [((1, 6),)]}
    assert store.run(at(1, 9), 1) is None


def test_a_shape_that_cannot_be_compiled_is_tried_again_and_takes_no_place() -> None:
    tries: list[int] = []

    def fail_once(shapes: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("no memory for this shape")
        return SimpleNamespace(run=lambda given, cuts: [shapes])

    store = BucketStore(fail_once, padder(1), capacity=1)
    with pytest.raises(RuntimeError, match="no memory"):
        store.run(at(1, 4), 1)
    assert store.shapes == ()
    answer: Any = store.run(at(1, 4), 1)
    assert answer == [((1, 9),)]


def doubling(shapes: Any) -> Any:
    """Stand for a compiled shape whose answer is twice its input."""
    return SimpleNamespace(run=lambda given, cuts: [2 * given[0][cut] for cut in cuts])


def group(rows: Sequence[int], batch: Any, width: int) -> Group:
    """Take some rows of a batch, the last one repeated until there are three."""
    filled = [*rows, *[rows[-1]] * (3 - len(rows))]
    return Group(rows=np.array(rows), arrays=[batch[filled]], shapes=((3, width),))


def test_rows_answered_in_groups_come_back_in_their_own_order() -> None:
    batch = np.arange(10, dtype=np.float32).reshape(5, 2)
    groups = [group([4, 0, 2], batch, 2), group([3, 1], batch, 4)]
    regrouper: Any = SimpleNamespace(groups=lambda arrays: groups)
    store = BucketStore(doubling, padder(1), capacity=8, regrouper=regrouper)
    answer = store.run([batch], 1)
    assert answer is not None
    np.testing.assert_array_equal(answer[0], 2 * batch)
    assert store.shapes == (((3, 2),), ((3, 4),))
    full = BucketStore(doubling, padder(1), capacity=1, regrouper=regrouper)
    assert full.run([batch], 1) is None, "a group that finds no place leaves the whole call to the exact model"


def test_calls_that_cannot_be_regrouped_are_padded_as_ever() -> None:
    regrouper: Any = SimpleNamespace(groups=lambda arrays: None)
    recorder = Recorder()
    assert BucketStore(recorder.compile, padder(1), capacity=8, regrouper=regrouper).run(at(1, 4), 1) is not None
    assert recorder.compiled == [((1, 9),)]


# program -----------------------------------------------------------------------------------------------------------


def signature() -> Signature:
    examples = [(np.zeros((n, m), np.float32),) * 3 for n, m in ((1, 4), (2, 9))]
    return infer_signature(examples, [tuple(wanted(example)) for example in examples])


def test_without_buckets_the_model_is_compiled_at_once_and_with_them_when_it_is_needed(exact: ExactShapes) -> None:
    made: list[int] = []

    def make() -> ExactShapes:
        made.append(1)
        return exact

    assert OpenVinoProgram(signature(), make, None).compiled == 1
    assert made == [1]
    plan = plan_buckets(signature().inputs, signature().outputs, [[(1, 4)] * 3, [(2, 9)] * 3], [[(1, 4)] * 2, [(2, 9)] * 2])
    recorder = Recorder()
    program = OpenVinoProgram(signature(), make, BucketStore(recorder.compile, Padder(plan, 1), capacity=0))
    assert made == [1] and program.compiled == 0
    call = arrays(1, 4)
    in_threads(4, lambda number: program(*call))
    assert made == [1, 1], "four calls at once open it once"
    for got, want in zip(program(*call), wanted(call), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_closed_program_holds_neither_models_nor_requests(exact: ExactShapes) -> None:
    program = OpenVinoProgram(signature(), lambda: exact, None)
    program(*arrays(1, 2))
    program.close()
    assert program._exact is None and program._buckets is None and program.compiled == 0


def test_a_call_that_does_not_fit_reaches_no_model() -> None:
    program = OpenVinoProgram(signature(), lambda: SimpleNamespace(run=lambda _: pytest.fail("the model was run")), None)
    with pytest.raises(WorkloadError, match="args_1 is float64"):
        program(np.zeros((1, 4), np.float32), np.zeros((1, 4)), np.zeros((1, 4), np.float32))


def test_buckets_and_exact_shapes_answer_alike_under_a_path_with_spaces(tiny: SimpleNamespace, tmp_path: Path) -> None:
    def call(batch: int, length: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(length)
        return {"ids": torch.randint(0, 50, (batch, length), generator=generator), "mask": torch.ones(batch, length)}

    draft = tiny.draft(tiny.PerToken(), [call(1, n) for n in (4, 7, 11)] + [call(2, 11)], engine="openvino")
    folder = tmp_path / "ein modell 例"
    exact = tiny.open(draft, folder)
    bucketed = tiny.open(draft, folder, EngineOptions(buckets=2))
    for batch, length in ((1, 4), (1, 5), (2, 11), (1, 12), (3, 4)):
        one, other = exact(**call(batch, length)), bucketed(**call(batch, length))
        for name in one:
            assert one[name].shape == other[name].shape
            assert torch.allclose(one[name], other[name], atol=1e-5), (name, batch, length)
