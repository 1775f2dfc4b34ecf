"""A model's launches captured once per shape and replayed: one launch by the processor in place of hundreds.

Inputs are copied into the memory that was captured with, the graph is replayed, and the answer is copied out. Shapes beyond
the bound are launched kernel by kernel and counted; what cannot be captured is an error, never another answer.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strop.contract.draft import Draft
from strop.contract.signature import Signature, as_call, call_leaves
from strop.contract.tally import Tally
from strop.engines.calls import tensors_of
from strop.engines.hosted import Forward, hosted, to_host
from strop.errors import PrepareError

if TYPE_CHECKING:
    from torch import Tensor

WARM_UPS = 2
"""Calls before a capture: libraries choose kernels and reserve memory when a shape first comes, which no capture may hold."""

LOOKS = 2
"""Examples of each shape whose answers are compared: a second one shows what the first was captured with."""

TOLERANCE, LOW_TOLERANCE = 1e-3, 5e-2
"""Largest departure of a replayed answer from the plain one, relative to its largest value, in 32 and in 16 bits: while it is
captured a model may take another kernel for the same thing, and rounds differently then."""

Shapes = tuple[tuple[int, ...], ...]
"""The shapes of a call's tensors, in the order of the signature."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A forward that can be replayed.

    Attributes:
        inputs: memory that it reads.
        outputs: memory that it writes.
        replay: runs it once more.
    """

    inputs: Sequence[Tensor]
    outputs: Sequence[Any]
    replay: Callable[[], None]


Capture = Callable[[Sequence["Tensor"]], Captured]
"""Captures a forward on tensors of one call, which are copied."""


class ShapeGraphs:
    """Answers by what was captured for a call's shapes. May be called from several threads, one of which runs at a time.

    Args:
        plain: launches kernel by kernel; takes and gives tensors of the processor's memory, as this does.
        capture: captures a call.
        bound: most shapes that are captured.

    Attributes:
        tally: shapes captured, and calls whose shapes were beyond the bound.
    """

    def __init__(self, plain: Forward, capture: Capture, bound: int) -> None:
        self._plain, self._capture, self._bound = plain, capture, bound
        self._held: dict[tuple[Any, ...], Captured] = {}
        self._lock = threading.Lock()
        self.tally = Tally()

    def __len__(self) -> int:
        return len(self._held)

    def __call__(self, leaves: Sequence[Tensor]) -> list[Any]:
        """Answer one call.

        Raises:
            PrepareError: its shapes are new, and the model cannot be captured with them.
        """
        key = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        with self._lock:
            held = self._held.get(key)
            if held is None and len(self._held) >= self._bound:
                self.tally.add("calls beyond the bound")
                return self._plain(leaves)
            if held is None:
                held = self._held[key] = self._capture(leaves)
                self.tally.add("shapes captured")
            for memory, leaf in zip(held.inputs, leaves, strict=True):
                memory.copy_(leaf)
            held.replay()
            return [to_host(output, copy=True) for output in held.outputs]


def cuda_capture(forward: Forward, device: str, model: str) -> Capture:
    """Return what captures a forward into a CUDA graph; all graphs share one pool of memory, for they never run side by side.

    Args:
        forward: takes and gives tensors on the device.
        device: as torch writes it.
        model: name of the model, for the message.
    """
    import torch

    with torch.cuda.device(device):
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def capture(leaves: Sequence[Tensor]) -> Captured:
        try:
            with torch.cuda.device(device):
                inputs = [leaf.to(device, copy=True) for leaf in leaves]
                stream.wait_stream(torch.cuda.current_stream())
                # The outer context gives the caller its stream back where a capture fails and leaves without doing so.
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UPS):
                        forward(inputs)
                    graph = torch.cuda.CUDAGraph()
                    # Other threads of a server may do what would spoil a capture of the whole process.
                    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                        outputs = forward(inputs)
                torch.cuda.current_stream().wait_stream(stream)
        except Exception as error:  # the model's own code, and whatever the driver makes of it
            cause = error.__context__ or error  # ending a spoiled capture fails too, with less to say
            line = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
            raise PrepareError(
                f"{model} cannot be captured in a CUDA graph: {line} A graph holds launches only: nothing in the model's code "
                f"may look at the values of tensors, or make tensors in the processor's memory. Leave cuda_graph out."
            ) from error
        return Captured(inputs, outputs, graph.replay)

    return capture


def rehearse(forward: Forward, draft: Draft) -> list[Shapes]:
    """Capture the shapes of the draft's examples as far as the bound goes, and compare what is replayed with plain answers.

    Counts the shapes in the tally of the draft's intent.

    Args:
        forward: takes and gives tensors on the draft's device.
        draft: with an intent to use graphs.

    Returns:
        The shapes to capture when the artefact is opened: the most frequent ones, the largest first.

    Raises:
        PrepareError: the model cannot be captured, or answers otherwise when it is replayed.
    """
    import torch

    intent, model = draft.graphs, type(draft.model).__name__
    assert intent is not None
    calls = [tensors_of(call_leaves(as_call(example), draft.signature))[0] for example in draft.examples]
    counted = Counter(tuple(tuple(leaf.shape) for leaf in leaves) for leaves in calls)
    chosen = [shapes for shapes, _ in counted.most_common(intent.shapes)]
    plain = hosted(forward, draft.device)
    graphs = ShapeGraphs(plain, cuda_capture(forward, draft.device, model), len(chosen))
    seen: Counter[Shapes] = Counter()
    for leaves in calls:
        shapes = tuple(tuple(leaf.shape) for leaf in leaves)
        seen[shapes] += 1
        if shapes in chosen and seen[shapes] <= LOOKS:
            with torch.inference_mode():
                compare(plain(leaves), graphs(leaves), model, TOLERANCE if draft.precision is None else LOW_TOLERANCE)
    intent.tally.add("shapes captured", len(graphs))
    intent.tally.add("shapes beyond the bound", len(counted) - len(chosen))
    # What a large one needed of the pool is there for the smaller ones behind it.
    return sorted(chosen, key=lambda shapes: sum(map(math.prod, shapes)), reverse=True)


def compare(wanted: Sequence[Tensor], got: Sequence[Tensor], model: str, tolerance: float) -> None:
    """Check that a replayed answer is the plain one.

    Raises:
        PrepareError: it departs further than rounding does.
    """
    from strop.surgery.flow import departure

    found = departure([list(wanted)], [list(got)])
    if not found <= tolerance:
        raise PrepareError(
            f"{model} answers otherwise when its captured launches are replayed (by {found:.2g} of the largest value): it keeps "
            f"state between calls or decides in Python, and a graph repeats what was done first. Leave cuda_graph out."
        )


def capture_known(graphs: ShapeGraphs, shapes: Sequence[Shapes], signature: Signature) -> None:
    """Capture the shapes an artefact was prepared with before the first call comes; values do not matter, so they are zeros.

    Raises:
        PrepareError: the model cannot be captured.
    """
    import torch

    with torch.inference_mode():
        for call in shapes:
            specs = zip(call, signature.inputs, strict=True)
            graphs([torch.zeros(shape, dtype=getattr(torch, spec.dtype)) for shape, spec in specs])
