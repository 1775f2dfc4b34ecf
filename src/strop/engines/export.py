"""From a draft's model to a graph, once for all engines that lower graphs."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import TYPE_CHECKING

from strop.contract.draft import Draft
from strop.contract.pytree import flatten, unflatten
from strop.contract.signature import Signature, as_call, call_leaves
from strop.engines.calls import tensors_of
from strop.errors import PrepareError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

BFLOAT16_SLACK = 0.02
"""Departure, relative to the largest answer, that rounding of bfloat16 in another order may cause."""

_SIZE = re.compile(r"leaves(?:_|\[)(\d+)\]?\.size\(\)\[(\d+)\]")
"""How the exporter writes the size of an input's dimension."""


def flat_model(model: nn.Module, signature: Signature, bfloat16: bool = False) -> nn.Module:
    """Wrap a model so that it takes its tensors by position and gives one tuple, both in signature order.

    Structured inputs and outputs of any class pass an exporter this way, and constants become part of the graph.

    Args:
        model: the model, in eval mode.
        signature: its inputs and outputs.
        bfloat16: run under CPU autocast, so that the conversions become part of the graph.
    """
    import torch

    class FlatModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
            args, kwargs = unflatten(signature.input_tree, leaves)
            # Even a disabled autocast would become a nested graph, which is slow to trace and hides fixed sizes.
            with torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext():
                outputs, _ = flatten(self.model(*args, **kwargs))
            wanted = [spec.dtype for spec in signature.outputs]
            return tuple(_restore(tensor, dtype) for tensor, dtype in zip(outputs, wanted, strict=True))

    return FlatModel().eval()


@contextlib.contextmanager
def free_steps() -> Iterator[None]:
    """Let the number of steps of LSTM and GRU layers stay free while a graph is captured or lowered; else it is unrolled.

    PyTorch keeps this for its own ONNX exporter, whose graphs hold such layers as one operator. Where a release has it no more,
    the number is fixed, and :func:`export_program` says so.
    """
    try:
        from torch.export._patches import register_gru_while_loop_decomposition, register_lstm_while_loop_decomposition
    except ImportError:
        yield
        return
    with register_gru_while_loop_decomposition(), register_lstm_while_loop_decomposition():
        yield


def export_program(draft: Draft, *, bfloat16: bool = False) -> ExportedProgram:
    """Export the draft's model with every varying dimension of its signature left free.

    The program takes its tensors by position, in signature order, and returns a tuple of tensors. Operators of it compute only
    the positions that are read; how many is counted in the draft's ``lowering``. Recurrent layers fix the number of their
    steps, except under :func:`free_steps`.

    Raises:
        PrepareError: the model cannot be exported, its code fixes a dimension that varies in the examples or takes another
            path for some of their sizes, or it keeps state between calls.
    """
    import torch

    from strop.surgery.positions import cut_unread

    leaves = export_leaves(draft)
    _check_stateless(draft, leaves)
    free = [{d: torch.export.Dim.AUTO for d, size in enumerate(s.shape) if size is None} for s in draft.signature.inputs]
    model = flat_model(draft.model, draft.signature, bfloat16)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter calls deprecated parts of torch itself
            program = torch.export.export(model, tuple(leaves), dynamic_shapes={"leaves": tuple(free)}, strict=False)
    except Exception as error:  # the exporter raises many kinds, all meaning the same to a trial
        raise PrepareError(f"torch.export cannot capture {type(draft.model).__name__}: {_first_lines(error)}") from error
    _check_free(program, draft)
    _check_paths(program, model, draft, coarse=bfloat16)
    if count := cut_unread(program):
        draft.lowering.add("operators cut to what is read", count)
    return program


def export_leaves(draft: Draft) -> list[Tensor]:
    """Return the arrays of one example whose varying dimensions are all at least 2, as exporters treat 0 and 1 as special.

    The example with the largest smallest such dimension is taken; a dimension of 1 that remains is repeated. Each array is
    a tensor of its own: one tensor in two places would be exported as one input.
    """
    signature = draft.signature
    rows = _rows(draft)
    if not rows:
        raise PrepareError("a draft without example inputs cannot be exported; give the workload at least one input.")
    chosen = max(rows, key=lambda leaves: min(_varying(leaves, signature), default=0))
    return [_at_least_two(leaf, spec.shape) for leaf, spec in zip(chosen, signature.inputs, strict=True)]


def _rows(draft: Draft) -> list[list[Tensor]]:
    return [tensors_of(call_leaves(as_call(example), draft.signature))[0] for example in draft.examples]


def _varying(leaves: Sequence[Tensor], signature: Signature) -> list[int]:
    pairs = zip(leaves, signature.inputs, strict=True)
    return [size for leaf, spec in pairs for size, fixed in zip(leaf.shape, spec.shape, strict=True) if fixed is None]


def _at_least_two(leaf: Tensor, shape: Sequence[int | None]) -> Tensor:
    repeats = [2 if fixed is None and size == 1 else 1 for size, fixed in zip(leaf.shape, shape, strict=True)]
    return leaf.repeat(repeats) if any(count > 1 for count in repeats) else leaf.clone()


def _check_free(program: ExportedProgram, draft: Draft) -> None:
    import torch
    from torch.fx.experimental.symbolic_shapes import is_concrete_int

    recurrent = any(isinstance(module, torch.nn.RNNBase) for module in draft.model.modules())
    hint = " Of LSTM and GRU layers the engine onnxruntime keeps it free." if recurrent else ""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for name, spec in zip(program.graph_signature.user_inputs, draft.signature.inputs, strict=True):
        for dimension, (size, fixed) in enumerate(zip(values[name].shape, spec.shape, strict=True)):
            if fixed is None and is_concrete_int(size):
                raise PrepareError(
                    f"the model's code fixes dimension {dimension} of input {spec.name} at {size}, but the examples vary it. "
                    f"Give examples of one size there, or write the model without reading that size as a number.{hint}"
                )


def _check_paths(program: ExportedProgram, model: nn.Module, draft: Draft, coarse: bool) -> None:
    """Hold the examples' sizes against what the exporter assumed: of a branch over a size it keeps the traced side in silence.

    Many an assumption is harmless (that a last feature map is not one pixel wide), and that no free size is 1 goes unsaid. So
    where one does not hold, the graph answers the smallest such example, and its answer decides; ``coarse``: in bfloat16.
    Nothing is called where all assumptions hold.
    """
    import torch

    checked = program.module()
    guards = dict(checked.named_children()).get("_guards_fn")  # None: torch leaves them out for some packages of its own
    outside = {}
    for leaves in _rows(draft):  # largest first, so that of each kind the smallest remains
        broken, ones = _broken(guards, leaves), [size == 1 for size in _varying(leaves, draft.signature)]
        if broken or any(ones):
            outside[broken, tuple(ones)] = leaves
    if not outside:
        return
    graph = program.module(check_guards=False)
    vars(graph)["validate_inputs"] = False  # or it refuses what it is to be tried with
    for (broken, _), leaves in outside.items():
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            torch.manual_seed(draft.seed)
            wanted = model(*(leaf.clone() for leaf in leaves))  # some models write into their inputs
            torch.manual_seed(draft.seed)
            try:
                answer = graph(*(leaf.clone() for leaf in leaves))
            except Exception as error:  # operators raise many kinds for sizes that they cannot take
                raise PrepareError(_assumed(broken, leaves, draft, f"fails: {_first_lines(error)}.")) from error
        slack = [BFLOAT16_SLACK * _largest(tensor) if coarse else 0.0 for tensor in wanted]
        if not all(starmap(_alike, zip(answer, wanted, slack, strict=True))):
            raise PrepareError(_assumed(broken, leaves, draft, "answers otherwise."))


def _broken(guards: nn.Module | None, leaves: Sequence[Tensor]) -> str:
    """Return, as code, the first of the exporter's assumptions about sizes that does not hold; empty where all do."""
    try:
        if guards is not None:
            guards(*leaves)
    except AssertionError as error:
        return str(error).removeprefix("Guard failed: ")
    return ""


def _assumed(broken: str, leaves: Sequence[Tensor], draft: Draft, fault: str) -> str:
    specs = draft.signature.inputs
    places = [(int(number), int(dimension)) for number, dimension in _SIZE.findall(broken)] or [
        (number, dimension)
        for number, (leaf, spec) in enumerate(zip(leaves, specs, strict=True))
        for dimension, (size, fixed) in enumerate(zip(leaf.shape, spec.shape, strict=True))
        if fixed is None and size == 1
    ]
    met = [f"dimension {d} of input {specs[n].name} is {leaves[n].shape[d]}" for n, d in dict.fromkeys(places)]
    sizes = " and ".join(met) or "a size is unlike the others"
    limit = _SIZE.sub(lambda found: f"{specs[int(found[1])].name}.shape[{found[2]}]", broken) or "sizes of 2 or more"
    return (
        f"{sizes} in an example, where the model's code goes another way than the exported graph, which holds for "
        f"{limit} and there {fault} Write the model without deciding by that size, or give examples on one side only."
    )


def _largest(tensor: Tensor) -> float:
    return float(tensor.double().nan_to_num(posinf=0, neginf=0).abs().max()) if tensor.numel() else 0.0


def _check_stateless(draft: Draft, leaves: Sequence[Tensor]) -> None:
    """Call the model twice with the same input and the same random numbers: what differs is what the first call left behind.

    The exporter drops what a model assigns to itself without a word, and the graph would answer each call as if it were the
    first one, which no evaluation by single calls can see.
    """
    import torch

    args, kwargs = unflatten(draft.signature.input_tree, leaves)
    answers = []
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        for _ in range(2):
            torch.manual_seed(draft.seed)
            try:
                outputs, _ = flatten(draft.model(*args, **kwargs))
            except Exception as error:  # the user's own code, on an example that may have been stretched for the exporter
                message = f"{type(draft.model).__name__} fails on the example that it is to be exported with"
                raise PrepareError(f"{message}: {_first_lines(error)}") from error
            answers.append([torch.as_tensor(output).clone() for output in outputs])
    if not all(starmap(_alike, zip(*answers, strict=True))):
        raise PrepareError(
            f"{type(draft.model).__name__} keeps state: called again with the same input it answers differently, and an exported "
            f"graph would forget that state after each call. Pass it as an input and return it as an output."
        )


def _alike(first: Tensor, second: Tensor, slack: float = 0.0) -> bool:
    import torch

    if first.shape != second.shape:
        return False
    return torch.allclose(first.double(), second.double(), rtol=1e-3, atol=1e-5 + slack, equal_nan=True)


def _restore(tensor: Tensor, dtype: str) -> Tensor:
    import torch

    wanted = getattr(torch, dtype)
    return tensor.to(wanted) if tensor.is_floating_point() and tensor.dtype != wanted else tensor


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:3])
