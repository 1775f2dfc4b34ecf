"""What is known about a model before anything is tried."""

from __future__ import annotations

from collections import Counter

from torch import nn

from strop.contract.draft import Facts
from strop.contract.examples import elements
from strop.contract.pytree import flatten
from strop.contract.signature import as_call
from strop.contract.workload import InferenceWorkload, TrainingWorkload
from strop.surgery.depth import blocks_of
from strop.surgery.modules import matrix_weights


def read_facts(model: nn.Module, workload: InferenceWorkload | TrainingWorkload) -> Facts:
    """Count parameters, bytes, modules and inputs. Reads shapes only; parameters shared by modules count once."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    splits = {name: len(split.inputs) for name, split in workload.splits.items()}
    if isinstance(workload, TrainingWorkload):
        splits["training"] = len(workload.data)
    return Facts(
        parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=sum(t.numel() * t.element_size() for t in tensors.values()),
        matrix_weights=_matrix_weights(model),
        modules=dict(Counter(type(m).__name__ for m in model.modules())),
        points={n: len(examples) for n, examples in workload.inputs.items()} if isinstance(workload, InferenceWorkload) else {},
        splits=splits,
        depth=len(blocks_of(model)),
        elements=_elements(workload),
        dynamic=_dynamic(workload),
    )


def _dynamic(workload: InferenceWorkload | TrainingWorkload) -> bool:
    if isinstance(workload, TrainingWorkload):
        length = workload.length
        return length is not None and len({length(workload.data[number]) for number in range(len(workload.data))}) > 1
    return len({_lengths(example) for examples in workload.inputs.values() for example in examples}) > 1


def _elements(workload: InferenceWorkload | TrainingWorkload) -> dict[str, int]:
    if isinstance(workload, TrainingWorkload):
        return {}
    learned = {"training": workload.training.inputs} if workload.training is not None else {}
    return {name: sum(map(elements, inputs)) for name, inputs in {**workload.inputs, **learned}.items()}


def _matrix_weights(model: nn.Module) -> dict[str, int]:
    found: Counter[str] = Counter()
    for weight in matrix_weights(model):
        found[weight.kind] += weight.numel
    return dict(found)


def _lengths(example: object) -> tuple[tuple[int, ...], ...]:
    args, kwargs = as_call(example)
    leaves, _ = flatten([list(args), {key: kwargs[key] for key in sorted(kwargs)}])
    return tuple(tuple(leaf.shape[1:]) for leaf in leaves)
