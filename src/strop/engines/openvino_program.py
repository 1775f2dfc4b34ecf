"""Running an OpenVINO model with as little work per call as possible. Knows nothing of torch.

Per call ``start_async`` and ``wait`` are used because ``infer`` builds a result dictionary that costs more than a small
model's whole answer. Requests are reused; a call that finds none free makes another, so calls may come from many threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from strop.contract.engine import Program
from strop.contract.signature import Signature
from strop.engines.buckets import Padder
from strop.engines.calls import AnswerWriter, Array, CallReader
from strop.engines.quiet import import_openvino
from strop.engines.ragged import Group, Regrouper

Shapes = tuple[tuple[int, ...], ...]


class ExactShapes:
    """A model compiled for any shape; inputs are handed over without copying.

    Args:
        compiled: the compiled model.
        order: for each leaf of a call the model's input it belongs to, or ``None`` when the model ignores it.
    """

    def __init__(self, compiled: Any, order: Sequence[int | None]) -> None:
        self._compiled, self._tensor = compiled, import_openvino().Tensor
        self._feed = [(leaf, port) for leaf, port in enumerate(order) if port is not None]
        self._outputs = range(len(compiled.outputs))
        self._free: deque[Any] = deque([compiled.create_infer_request()])

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the model's outputs as fresh arrays."""
        request = _take(self._free) or self._compiled.create_infer_request()
        for leaf, port in self._feed:
            array = arrays[leaf]
            request.set_input_tensor(port, self._tensor(array, shared_memory=bool(array.flags.writeable)))
        request.start_async()
        request.wait()
        answers = [request.get_output_tensor(index).data.copy() for index in self._outputs]
        self._free.append(request)
        return answers


class PaddedShapes:
    """A model compiled for one exact shape, whose request keeps input buffers that calls are written into.

    Args:
        compiled: the compiled model.
        order: for each leaf of a call the model's input it belongs to, or ``None`` when the model ignores it.
        shapes: the compiled shape of each leaf.
    """

    def __init__(self, compiled: Any, order: Sequence[int | None], shapes: Shapes) -> None:
        self._compiled, self._order, self._shapes = compiled, tuple(order), shapes
        self._free: deque[Any] = deque([self._request()])

    def run(self, arrays: Sequence[Array], cuts: Sequence[tuple[slice, ...]]) -> list[Array]:
        """Return the outputs cut back to the call's own lengths, as fresh arrays."""
        taken = _take(self._free) or self._request()
        request, inputs, outputs = taken
        for array, buffer, shape in zip(arrays, inputs, self._shapes, strict=True):
            if buffer is None:
                continue
            if array.shape != shape:
                buffer.fill(0)
                buffer[tuple(map(slice, array.shape))] = array
            else:
                buffer[...] = array
        request.start_async()
        request.wait()
        answers = [output[cut].copy() for output, cut in zip(outputs, cuts, strict=True)]
        self._free.append(taken)
        return answers

    def _request(self) -> tuple[Any, list[Array | None], list[Array]]:
        request = self._compiled.create_infer_request()
        inputs = [None if port is None else request.get_input_tensor(port).data for port in self._order]
        return request, inputs, [request.get_output_tensor(index).data for index in range(len(self._compiled.outputs))]


class BucketStore:
    """Compiles exact shapes on first use and keeps a bounded number of them.

    When it is full, shapes that it does not hold run at their own size instead: evicting would turn a mix of more shapes
    than fit into one compilation (a good tenth of a second) per call.

    Args:
        compile_exact: compiles the model for the given shape of each leaf.
        padder: pads calls and cuts answers.
        capacity: how many compiled shapes are kept.
        regrouper: cuts batches into groups of rows of like length, or ``None`` to answer them whole.
    """

    def __init__(self, compile_exact: Any, padder: Padder, capacity: int, regrouper: Regrouper | None = None) -> None:
        self._compile, self._padder, self._capacity, self._regrouper = compile_exact, padder, capacity, regrouper
        self._held: dict[Shapes, PaddedShapes] = {}
        self._compiling: dict[Shapes, Lock] = {}
        self._lock = Lock()

    def run(self, arrays: Sequence[Array], outputs: int) -> list[Array] | None:
        """Return the outputs, or ``None`` when the call must run at its own shape."""
        if self._regrouper is not None and (groups := self._regrouper.groups(arrays)) is not None:
            return self._run_groups(groups, len(arrays[0]), outputs)
        shapes = [array.shape for array in arrays]
        padded = self._padder.fit(shapes)
        if padded is None:
            return None
        runner = self._held.get(padded) or self._add(padded)
        return None if runner is None else runner.run(arrays, self._padder.cuts(shapes, outputs))

    def _run_groups(self, groups: Sequence[Group], rows: int, outputs: int) -> list[Array] | None:
        answers: list[Array] = []
        for group in groups:
            runner = self._held.get(group.shapes) or self._add(group.shapes)
            if runner is None:
                return None
            parts = runner.run(group.arrays, [(slice(len(group.rows)),)] * outputs)
            answers = answers or [np.empty((rows, *part.shape[1:]), dtype=part.dtype) for part in parts]
            for answer, part in zip(answers, parts, strict=True):
                answer[group.rows] = part
        return answers

    @property
    def shapes(self) -> tuple[Shapes, ...]:
        """The compiled shapes."""
        return tuple(self._held)

    def _add(self, padded: Shapes) -> PaddedShapes | None:
        """Compile a shape once, whoever asks for it; other shapes may be compiled at the same time."""
        with self._lock:
            room = len(self._held.keys() | self._compiling.keys()) < self._capacity
            if padded not in self._held and padded not in self._compiling and not room:
                return None
            turn = self._compiling.setdefault(padded, Lock())
        try:
            with turn:
                if padded not in self._held:
                    compiled = self._compile(padded)
                    with self._lock:
                        self._held[padded] = compiled
                return self._held[padded]
        finally:
            self._compiling.pop(padded, None)


class OpenVinoProgram(Program):
    """An opened model.

    Args:
        signature: inputs and outputs.
        exact: makes the runner for any shape; called on first use when there are buckets, else at once.
        buckets: compiled shapes, or ``None``.
    """

    def __init__(self, signature: Signature, exact: Any, buckets: BucketStore | None) -> None:
        self._reader, self._writer = CallReader(signature), AnswerWriter(signature)
        self._outputs = len(signature.outputs)
        self._buckets = buckets
        self._make_exact = exact
        self._exact: ExactShapes | None = exact() if buckets is None else None
        self._lock = Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one call; may be called from several threads."""
        arrays, as_torch = self._reader.arrays(args, kwargs)
        answers = self._buckets.run(arrays, self._outputs) if self._buckets is not None else None
        if answers is None:
            answers = (self._exact or self._open_exact()).run(arrays)
        return self._writer.from_arrays(answers, as_torch)

    @property
    def compiled(self) -> int:
        """Shapes compiled so far, the free one included."""
        return (0 if self._buckets is None else len(self._buckets.shapes)) + (self._exact is not None)

    def close(self) -> None:
        """Drop the compiled models and their threads."""
        self._buckets = self._exact = None

    def _open_exact(self) -> ExactShapes:
        with self._lock:
            if self._exact is None:
                self._exact = self._make_exact()
            return self._exact


def _take(free: deque[Any]) -> Any:
    try:
        return free.pop()
    except IndexError:
        return None
