"""A workload's data on disk, so that every process of every trial reads the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from strop.contract.device import PROCESSOR, absent
from strop.contract.draft import Draft, Facts
from strop.contract.examples import digest, elements, read_examples, write_examples
from strop.contract.pytree import flatten, map_leaves
from strop.contract.signature import Signature, TensorSpec, as_call, infer_inputs, infer_signature
from strop.contract.workload import InferenceWorkload
from strop.errors import WorkloadError
from strop.ledger.files import read_json, write_json
from strop.surgery.facts import read_facts


@dataclass(frozen=True, slots=True)
class Materials:
    """Where the data of a workload lies.

    ::

        points/0.safetensors …    example inputs per operating point
        splits/<name>.safetensors evaluation, calibration and training inputs
        materials.json            point names, signature, facts, device, one digest over all data and the model's weights
    """

    folder: Path

    @property
    def index(self) -> dict[str, Any]:
        """Point names, signature, facts, and under ``data`` one digest over all data and the original model's weights."""
        value: dict[str, Any] = read_json(self.folder / "materials.json")
        return value

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the operating points."""
        return tuple(self.index["points"])

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the original model."""
        return Signature.from_json(self.index["signature"])

    @property
    def facts(self) -> Facts:
        """What is known about the model."""
        return Facts(**self.index["facts"])

    def point_file(self, point: str) -> Path:
        """Return the file with a point's example inputs."""
        return self.folder / "points" / f"{self.points.index(point)}.safetensors"

    def split_file(self, split: str) -> Path:
        """Return the file with a split's inputs."""
        return self.folder / "splits" / f"{split}.safetensors"

    def draft(self, workload: InferenceWorkload, model: torch.nn.Module | Callable[[], torch.nn.Module], seed: int) -> Draft:
        """Return a fresh draft for one trial."""
        examples = [example for point in self.points for example in read_examples(self.point_file(point))]
        return draft_for(workload, model, self.signature, seed=seed, facts=self.facts, examples=examples)


def draft_for(
    workload: InferenceWorkload,
    model: torch.nn.Module | Callable[[], torch.nn.Module],
    signature: Signature,
    *,
    seed: int,
    facts: Facts | None = None,
    examples: Sequence[Any] = (),
) -> Draft:
    """Return a draft; examples, if any, become torch tensors where the model is, and come largest first."""
    ordered = sorted(examples, key=elements, reverse=True)
    return Draft(
        model=model,
        workload=workload,
        facts=facts or Facts(),
        seed=seed,
        signature=signature,
        examples=[map_leaves(lambda leaf: torch.as_tensor(leaf, device=workload.device), example) for example in ordered],
    )


def materialise(workload: InferenceWorkload, model: torch.nn.Module, folder: Path) -> Materials:
    """Read the original model's signature and facts, and write the workload's data.

    Raises:
        WorkloadError: the model cannot be called, its answers hold no tensors, inputs do not fit or have a dtype that numpy
            lacks, or calibration or training data overlap the evaluation data.
    """
    workload = _drawn(workload)
    _refuse_dtypes(workload)
    _refuse_overlap(workload)
    probes = _probes(workload)
    probed = infer_signature(
        [example for _, example in probes], [_answer(model, example, point, workload.device) for point, example in probes]
    )
    signature = replace(probed, inputs=_fitting(workload))
    for number, inputs in enumerate(workload.inputs.values()):
        write_examples(folder / "points" / f"{number}.safetensors", list(inputs))
    for name, split in workload.splits.items():
        write_examples(folder / "splits" / f"{name}.safetensors", list(split.inputs))
    facts = read_facts(model, workload)
    write_json(
        folder / "materials.json",
        {
            "points": list(workload.inputs),
            "signature": signature.to_json(),
            "facts": asdict(facts),
            "device": workload.device,
            "data": digest([data_digest(workload), _weights_digest(model)]),
        },
    )
    return Materials(folder)


def _drawn(workload: InferenceWorkload) -> InferenceWorkload:
    """Return the workload with every input drawn once: a lazy sequence may decode a picture at each look."""
    splits: dict[str, Any] = {name: replace(split, inputs=list(split.inputs)) for name, split in workload.splits.items()}
    return replace(workload, inputs={point: list(inputs) for point, inputs in workload.inputs.items()}, **splits)


def build_model(workload: InferenceWorkload, seed: int) -> torch.nn.Module:
    """Build the workload's model under a fixed seed, in eval mode, and move it to the workload's device.

    Raises:
        WorkloadError: there is no such device, the user's code failed or gave something else, or the model lies elsewhere.
    """
    check_there(workload)
    torch.manual_seed(seed)
    try:
        model = workload.model()
    except Exception as error:
        raise WorkloadError(f"model() of the workload failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise WorkloadError(f"model() of the workload gave a {type(model).__name__}; a torch.nn.Module was expected.")
    return _moved(model, workload.device).eval()


def check_there(workload: InferenceWorkload) -> None:
    """Check that the workload's device is one that torch finds, before any work.

    Raises:
        WorkloadError: it is not.
    """
    if problem := absent(workload.device):
        raise WorkloadError(
            f"{problem}. Give InferenceWorkload(device=…) one that is there, or 'cpu' (CUDA_VISIBLE_DEVICES counts)."
        )


def _moved(model: torch.nn.Module, device: str) -> torch.nn.Module:
    if device != PROCESSOR:
        try:
            return model.to(device)
        except (RuntimeError, NotImplementedError) as error:  # out of memory, or tensors without values
            raise WorkloadError(f"model() of the workload cannot be moved to {device}: {error}") from error
    elsewhere = next((str(t.device) for t in (*model.parameters(), *model.buffers()) if t.device.type not in ("cpu", "meta")), "")
    if elsewhere:
        raise WorkloadError(
            f"model() of the workload is on {elsewhere}, the workload on the processor. Give InferenceWorkload(device='cuda') "
            f"to measure it there, or leave the model where it is built."
        )
    return model


def data_digest(workload: InferenceWorkload) -> str:
    """Return one digest over all inputs of all points and splits, and the labels of those from which artefacts are made."""
    inputs: Mapping[str, Sequence[Any]] = {**workload.inputs, **{f"split {n}": s.inputs for n, s in workload.splits.items()}}
    marks = {name: "".join(digest(_tree(e)) for e in examples) for name, examples in inputs.items()}
    for name in ("calibration", "training"):
        if name in workload.splits and (labels := workload.splits[name].labels) is not None:
            marks[f"labels of {name}"] = "".join(map(_label_digest, labels))
    return digest(marks)


def _label_digest(label: Any) -> str:
    """A label may be any object; one that is no tree of arrays counts by its text, at worst another one in each process."""
    try:
        return digest(label)
    except (WorkloadError, TypeError):  # the structure, or a dtype that numpy lacks
        return digest(repr(label))


def _weights_digest(model: torch.nn.Module) -> str:
    """Weights may be read from files that the workload's code names, which no digest of that code covers."""
    state = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized:
            state.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
            state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _fitting(workload: InferenceWorkload) -> tuple[TensorSpec, ...]:
    """Read the signature's inputs off all data; what does not fit is told with its place."""
    groups = _groups(workload)
    try:
        return infer_inputs([example for inputs in groups.values() for example in inputs])
    except WorkloadError:
        first = next(iter(groups.values()))[0]
        for where, inputs in groups.items():
            for number, example in enumerate(inputs):
                try:
                    infer_inputs([first, example])
                except WorkloadError as error:
                    raise WorkloadError(
                        f"input {number} of {where} does not fit the first example input: {error} Give inputs of one kind."
                    ) from error
        raise


def _groups(workload: InferenceWorkload) -> dict[str, Sequence[Any]]:
    """Return all inputs by where they are, in words."""
    groups: dict[str, Sequence[Any]] = {repr(point): inputs for point, inputs in workload.inputs.items()}
    return groups | {f"the {name} split": split.inputs for name, split in workload.splits.items()}


def _refuse_dtypes(workload: InferenceWorkload) -> None:
    """Refuse what the files between processes cannot hold: numpy would widen bfloat16, and the model be called with another."""
    for where, inputs in _groups(workload).items():
        for number, example in enumerate(inputs):
            for leaf in flatten(example)[0]:
                if not _in_numpy(leaf):
                    raise WorkloadError(
                        f"input {number} of {where} holds {leaf.dtype}, which numpy and so the files that a trial's processes "
                        f"read do not have. Give it as float32 and cast it inside the model, for instance with "
                        f"x.to({leaf.dtype})."
                    )


def _in_numpy(leaf: Any) -> bool:
    try:
        return not isinstance(leaf, torch.Tensor) or torch.empty(0, dtype=leaf.dtype).numpy() is not None
    except TypeError:  # torch's way to say that numpy has no such dtype
        return False


def _probes(workload: InferenceWorkload) -> list[tuple[str, Any]]:
    """A few examples per point: the smallest and the largest, so that varying dimensions are seen."""
    probes = []
    for point, inputs in workload.inputs.items():
        ordered = sorted(inputs, key=elements)
        probes += [(point, example) for example in dict.fromkeys((0, len(ordered) - 1)) for example in [ordered[example]]]
    return probes


def _answer(model: torch.nn.Module, example: Any, point: str, device: str) -> Any:
    args, kwargs = as_call(map_leaves(lambda leaf: torch.as_tensor(leaf, device=device), example))
    try:
        with torch.inference_mode():
            return model(*args, **kwargs)
    except Exception as error:
        raise WorkloadError(f"the model failed on an example input of {point!r}: {type(error).__name__}: {error}") from error


def _refuse_overlap(workload: InferenceWorkload) -> None:
    seen: dict[str, tuple[str, int]] = {}
    for name, split in workload.splits.items():
        own: dict[str, int] = {}
        for number, example in enumerate(split.inputs):
            own.setdefault(digest(_tree(example)), number)
        for mark, number in own.items():
            if mark in seen:
                other, where = seen[mark]
                raise WorkloadError(
                    f"input {number} of the {name} split is also input {where} of the {other} split; data that fits or "
                    f"calibrates must be disjoint from data that judges. Remove it from one of them."
                )
        seen.update({mark: (name, number) for mark, number in own.items()})


def _tree(example: Any) -> Any:
    args, kwargs = as_call(example)
    return [list(args), kwargs]
