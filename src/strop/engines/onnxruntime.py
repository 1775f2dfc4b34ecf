"""ONNX Runtime on CPU: float32, int8 with ranges found on the fly, and calibrated int8."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

from strop.contract.device import processor_only
from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine, Program, Source
from strop.contract.signature import Signature
from strop.contract.ties import Trait
from strop.engines.calls import (
    AnswerWriter,
    Array,
    CallReader,
    installed,
    read_settings,
    refuse_buckets,
    require,
    write_settings,
)
from strop.engines.quiet import import_onnxruntime
from strop.engines.threads import allowed_cores, check_threads
from strop.errors import ArtefactError, MissingExtraError, PrepareError, UsageError
from strop.measure.host import Host

_MODEL = "model.onnx"
_ONE_FILE_LIMIT = 1_800_000_000
"""Bytes of weights up to which one file is written; the format's own limit is 2 GiB."""


@final
class OnnxRuntimeEngine(Engine):
    """Exports to ONNX with free dimensions and runs the graph; opens without torch."""

    name: ClassVar[str] = "onnxruntime"
    extra: ClassVar[str | None] = "onnx"
    adds: ClassVar[frozenset[Trait]] = frozenset({Trait.ENGINE, Trait.DYNAMIC_INT8_ENGINE, Trait.STATIC_INT8_ENGINE})
    converts: ClassVar[bool] = True

    def available(self) -> bool:
        """Tell whether onnxruntime is installed."""
        return installed("onnxruntime")

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline accelerators, low floating-point precision, uncalibrated static int8 and shape buckets."""
        if elsewhere := processor_only(self.name, draft.device):
            return elsewhere
        if draft.precision is not None:
            return f"onnxruntime has no {draft.precision.dtype} kernels for CPU; choose openvino or inductor"
        if draft.engine_options.buckets:
            return "onnxruntime runs exact shapes and has no shape buckets"
        quantization = draft.quantization
        if quantization is not None and quantization.mode == "static" and not draft.workload.calibration.inputs:
            return "static int8 needs calibration inputs, and the workload has none; give InferenceWorkload(calibration=…)"
        if quantization is not None and draft.facts.weight_bytes > _ONE_FILE_LIMIT:
            return "models of more than 1.8 GB cannot be quantised in one ONNX file"
        return None

    def convert(self, draft: Draft, graph: Path) -> None:
        """Export to one ONNX file (weights beside it when they pass the format's limit)."""
        require(self)
        if not installed("onnx", "onnxscript"):
            raise MissingExtraError("exporting to ONNX", "onnx")
        _export(draft, graph / _MODEL)

    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        """Copy the graph, and quantise the copy if asked."""
        if graph is None:
            self.convert(draft, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for part in graph.glob(f"{_MODEL}*"):  # weights may lie beside it
                shutil.copy(part, folder)
        path = folder / _MODEL
        if draft.quantization is not None:
            from strop.engines.onnx_int8 import quantize

            quantize(path, draft)
        write_settings(folder, {"outputs": len(draft.signature.outputs)})

    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        """Open a session with all graph optimisations; ``options.hints`` are session configuration entries."""
        require(self)
        refuse_buckets(self.name, options.buckets)
        if read_settings(folder).get("outputs") != len(signature.outputs):
            raise ArtefactError("the artefact's number of outputs differs from the signature's. Prepare the artefact again.")
        onnxruntime = import_onnxruntime()
        settings = session_options(onnxruntime, options)
        try:
            session = onnxruntime.InferenceSession(folder / _MODEL, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own errors share no base class
            raise ArtefactError(f"{_MODEL} cannot be opened ({error}). Prepare the artefact again.") from error
        return _OnnxProgram(session, signature)


class _OnnxProgram(Program):
    def __init__(self, session: Any, signature: Signature) -> None:
        self._session = session
        self._reader, self._writer = CallReader(signature), AnswerWriter(signature)
        present = {value.name for value in session.get_inputs()}
        self._feed = [(i, f"input_{i}") for i in range(len(signature.inputs)) if f"input_{i}" in present]
        self._names = [f"output_{i}" for i in range(len(signature.outputs))]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one call; may be called from several threads."""
        arrays, as_torch = self._reader.arrays(args, kwargs)
        return self._writer.from_arrays(self._run(arrays), as_torch)

    def close(self) -> None:
        """Drop the session and its threads."""
        self._session = None

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        answers: list[Array] = self._session.run(self._names, {name: arrays[i] for i, name in self._feed})
        return answers


def session_options(onnxruntime: Any, options: EngineOptions) -> Any:
    """Return session options: threads, binding to cores, and ``hints`` as configuration entries.

    Raises:
        UsageError: more threads than cores, or an entry the runtime does not take.
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    count = check_threads(options.threads)
    settings.intra_op_num_threads = count
    if options.pin and count > 1:
        # The calling thread is one of the count; the others are bound, numbered from 1.
        settings.add_session_config_entry(
            "session.intra_op_thread_affinities", ";".join(str(core + 1) for core in allowed_cores()[1:count])
        )
    for key, value in options.hints.items():
        try:
            settings.add_session_config_entry(key, value)
        except RuntimeError as error:
            raise UsageError(f"onnxruntime does not take the hint {key}={value!r}: {error}") from error
    return settings


def _export(draft: Draft, path: Path) -> None:
    import torch

    from strop.engines.export import export_program, free_steps

    with free_steps():
        program = export_program(draft)
    try:
        with free_steps(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter calls deprecated parts of torch itself
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[f"input_{i}" for i in range(len(draft.signature.inputs))],
                output_names=[f"output_{i}" for i in range(len(draft.signature.outputs))],
            )
    except Exception as error:  # the exporter raises many kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise PrepareError(f"{type(draft.model).__name__} cannot be exported to ONNX: {words[0]}") from error
    if converted is None:
        raise PrepareError(f"{type(draft.model).__name__} cannot be exported to ONNX: the exporter gave nothing.")
    converted.save(str(path), external_data=draft.facts.weight_bytes > _ONE_FILE_LIMIT)
