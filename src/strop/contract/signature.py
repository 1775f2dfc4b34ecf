"""What a program takes and gives: names, dtypes, shapes, and which dimensions may vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from strop.contract.pytree import Spec, flatten, is_leaf, leaf_names, to_numpy
from strop.errors import WorkloadError

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of one call."""


def as_call(example: object) -> Call:
    """Read an example input as the arguments of one call.

    A tensor is one positional argument, a tuple or list is all of them, a mapping is keyword arguments.
    """
    if is_leaf(example):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        return tuple(example), {}
    raise WorkloadError(
        f"an example input is a {type(example).__name__}; give a tensor (one argument), a tuple (positional "
        f"arguments) or a dict (keyword arguments)."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One array of a signature; ``None`` in the shape marks a dimension that varies."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Inputs and outputs of a program.

    Attributes:
        inputs: the arrays of a call, in leaf order.
        input_tree: description of ``[args, kwargs]``.
        outputs: the arrays of an answer, in leaf order.
        output_tree: description of the answer.
    """

    inputs: tuple[TensorSpec, ...]
    input_tree: Spec
    outputs: tuple[TensorSpec, ...]
    output_tree: Spec

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Signature:
        """Rebuild a signature from :meth:`to_json`."""
        return cls(
            inputs=_specs(row["inputs"]),
            input_tree=row["input_tree"],
            outputs=_specs(row["outputs"]),
            output_tree=row["output_tree"],
        )


def infer_signature(examples: Sequence[object], answers: Sequence[object]) -> Signature:
    """Read the signature off example inputs and the answers the original model gave to them.

    Args:
        examples: example inputs as the workload gives them; at least one.
        answers: what the model answered to each of them.

    Raises:
        WorkloadError: examples disagree in structure, constants, dtype or rank.
    """
    inputs = infer_inputs(examples)
    args, kwargs = as_call(examples[0])
    input_tree = flatten([list(args), kwargs])[1]
    outputs, output_tree = _merge(list(answers), "outputs")
    if not outputs:
        raise WorkloadError("the model's answer holds no tensor; return a tensor, or a dict, dataclass or tuple of tensors.")
    return Signature(inputs=inputs, input_tree=input_tree, outputs=outputs, output_tree=output_tree)


def infer_inputs(examples: Sequence[object]) -> tuple[TensorSpec, ...]:
    """Read the input half of a signature off example inputs alone.

    Raises:
        WorkloadError: examples disagree in structure, constants, dtype or rank.
    """
    return _merge([[list(a), k] for a, k in map(as_call, examples)], "inputs")[0]


def call_leaves(call: Call, signature: Signature) -> list[Any]:
    """Return the arrays of a call in the order of the signature.

    Keyword arguments may come in any order; a call that does not fit raises ``WorkloadError``.
    """
    args, kwargs = call
    order = signature.input_tree["children"][1]["keys"]
    if set(order) != set(kwargs):
        raise WorkloadError(f"keyword arguments {sorted(kwargs)} came, {sorted(order)} were expected.")
    leaves, tree = flatten([list(args), {key: kwargs[key] for key in order}])
    if tree != signature.input_tree:
        names = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in signature.inputs)
        raise WorkloadError(f"the inputs do not have the structure this program was prepared for: {names}.")
    return leaves


def _merge(trees: Sequence[object], what: str) -> tuple[tuple[TensorSpec, ...], Spec]:
    first_leaves, spec = flatten(trees[0])
    specs = [_leaf_spec(name, leaf) for name, leaf in zip(_names(spec, what), first_leaves, strict=True)]
    for number, tree in enumerate(trees[1:], start=2):
        leaves, other = flatten(tree)
        if other != spec:
            raise WorkloadError(f"{what}: example {number} differs in structure or constants from example 1.")
        specs = [_widen(old, leaf, what, number) for old, leaf in zip(specs, leaves, strict=True)]
    return tuple(specs), spec


def _names(spec: Spec, what: str) -> list[str]:
    if what == "outputs":
        return leaf_names(spec)
    positional, keywords = spec["children"]
    return [f"args_{name}" for name in leaf_names(positional)] + leaf_names(keywords)


def _leaf_spec(name: str, leaf: Any) -> TensorSpec:
    return TensorSpec(name=name, dtype=str(to_numpy(leaf).dtype), shape=tuple(leaf.shape))


def _widen(old: TensorSpec, leaf: Any, what: str, number: int) -> TensorSpec:
    new = _leaf_spec(old.name, leaf)
    if new.dtype != old.dtype or len(new.shape) != len(old.shape):
        raise WorkloadError(
            f"{what}: {old.name} is {new.dtype}{list(new.shape)} in example {number} but "
            f"{old.dtype}{list(old.shape)} before; dtype and number of dimensions must stay the same."
        )
    shape = tuple(a if a == b else None for a, b in zip(old.shape, new.shape, strict=True))
    return TensorSpec(name=old.name, dtype=old.dtype, shape=shape)


def _specs(rows: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=r["name"], dtype=r["dtype"], shape=tuple(r["shape"])) for r in rows)
