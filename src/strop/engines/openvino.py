"""OpenVINO on CPU: float32 by default, bfloat16 and calibrated int8 as intents, shape buckets as an option of opening."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from strop.contract.device import processor_only
from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine, Program, Source
from strop.contract.signature import Signature
from strop.contract.ties import Trait
from strop.engines.buckets import MAX_BUCKETS, BucketPlan, Padder
from strop.engines.calls import installed, read_settings, require, write_settings
from strop.engines.openvino_program import BucketStore, ExactShapes, OpenVinoProgram, PaddedShapes
from strop.engines.precision import decline_precision
from strop.engines.quiet import import_openvino, openvino_core
from strop.engines.ragged import RaggedPlan, Regrouper
from strop.engines.threads import check_threads
from strop.errors import ArtefactError, PrepareError, UsageError
from strop.measure.host import Host

if TYPE_CHECKING:
    from openvino import CompiledModel, Model

_MODEL = "model.xml"
_HELD_SHAPES = 8


@final
class OpenVinoEngine(Engine):
    """Converts the exported graph directly (no ONNX between) and lets OpenVINO fuse, pick kernels and lay out memory.

    OpenVINO would silently choose bfloat16 where the CPU has it. Here float32 is the default and bfloat16 an intent that
    must be declared, so that a loss of precision is always somebody's decision.
    """

    name: ClassVar[str] = "openvino"
    extra: ClassVar[str | None] = "openvino"
    adds: ClassVar[frozenset[Trait]] = frozenset({Trait.ENGINE, Trait.STATIC_INT8_ENGINE, Trait.BF16_ENGINE})
    converts: ClassVar[bool] = True
    buckets: ClassVar[bool] = True

    def available(self) -> bool:
        """Tell whether openvino is installed (and nncf, which int8 needs)."""
        return installed("openvino", "nncf")

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline accelerators, dynamic int8, uncalibrated static int8, and bfloat16 that the host would have to emulate."""
        if elsewhere := processor_only(self.name, draft.device):
            return elsewhere
        quantization = draft.quantization
        if quantization is not None and quantization.mode == "dynamic":
            return "openvino runs calibrated int8 only; choose onnxruntime for ranges found on the fly"
        if quantization is not None and not draft.workload.calibration.inputs:
            return "static int8 needs calibration inputs, and the workload has none; give InferenceWorkload(calibration=…)"
        return decline_precision(draft, host)

    def convert(self, draft: Draft, graph: Path) -> None:
        """Convert, and find out which buckets can be used."""
        require(self)
        openvino = import_openvino()
        model = _convert(openvino, draft)
        from strop.engines.openvino_shapes import plan_shapes

        runner = ExactShapes(_compile(openvino_core(), _config("f32", EngineOptions()), model), _order(model, draft.signature))
        buckets, ragged = plan_shapes(runner, draft)
        write_settings(graph, {"buckets": buckets.to_json(), "ragged": ragged.to_json()})
        openvino.save_model(model, graph / _MODEL, compress_to_fp16=False)

    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        """Quantise the graph if asked, and write it as an OpenVINO IR with its settings."""
        with contextlib.ExitStack() as cleanup:
            if graph is None:
                graph = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="strop-")))
                self.convert(draft, graph)
            self._finish(draft, folder, graph)

    def _finish(self, draft: Draft, folder: Path, graph: Path) -> None:
        require(self)
        openvino = import_openvino()
        model = openvino_core().read_model(graph / _MODEL)
        if draft.quantization is not None:
            from strop.engines.openvino_int8 import quantize

            model = quantize(model, draft)
        precision = "bf16" if draft.precision else "f32"
        openvino.save_model(model, folder / _MODEL, compress_to_fp16=False)
        write_settings(folder, {**read_settings(graph), "precision": precision, "order": _order(model, draft.signature)})
        if draft.precision is not None:
            compiled = openvino_core().compile_model(model, "CPU", _config(precision, EngineOptions()))
            draft.precision.tally.add("operators in bfloat16", _count(compiled, "bf16"))

    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        """Map the weights and compile; with buckets, each shape is compiled when it first comes."""
        require(self)
        settings = read_settings(folder)
        plan, ragged = BucketPlan.from_json(settings["buckets"]), RaggedPlan.from_json(settings["ragged"])
        _check_buckets(options.buckets, plan)
        _check_trim(options, ragged)
        openvino = import_openvino()
        core = openvino_core()
        try:
            model = core.read_model(folder / _MODEL)
        except RuntimeError as error:
            raise ArtefactError(f"{_MODEL} cannot be read ({_first_line(error)}). Prepare the artefact again.") from error
        if options.linear == "convolution":
            from strop.engines.openvino_linear import as_convolutions

            if not as_convolutions(model):
                raise UsageError("linear='convolution' was asked for, but no linear layer answers rows of a fixed number.")
        compile_model = partial(_compile, core, _config(settings["precision"], options))
        order = settings["order"]

        def padded(shapes: tuple[tuple[int, ...], ...]) -> PaddedShapes:
            exact = model.clone()
            exact.reshape({port: openvino.PartialShape(list(shapes[i])) for i, port in enumerate(order) if port is not None})
            return PaddedShapes(compile_model(exact), order, shapes)

        store = None
        if options.buckets:
            regrouper = Regrouper(ragged, MAX_BUCKETS) if options.trim else None
            store = BucketStore(padded, Padder(plan, options.buckets), _HELD_SHAPES, regrouper)
        return OpenVinoProgram(signature, lambda: ExactShapes(compile_model(model), order), store)


def _convert(openvino: Any, draft: Draft) -> Model:
    from strop.engines.export import export_program

    program = export_program(draft)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter copies graphs through deprecated parts of torch
            model = openvino.convert_model(program)
    except Exception as error:  # conversion errors share no class
        raise PrepareError(f"openvino cannot convert {type(draft.model).__name__}: {_first_line(error)}") from error
    known = dict(zip(program.graph_signature.user_inputs, range(len(draft.signature.inputs)), strict=True))
    fixed = {}
    for port in model.inputs:
        leaf = next((known[name] for name in port.get_names() if name in known), None)
        if leaf is None:
            raise PrepareError(f"openvino added an input {sorted(port.get_names())} that the model does not have.")
        port.get_tensor().set_names({f"input_{leaf}"})
        fixed[port] = openvino.PartialShape([-1 if size is None else size for size in draft.signature.inputs[leaf].shape])
    model.reshape(fixed)  # the converter frees every dimension, and kernels for free sizes are slower
    for index, port in enumerate(model.outputs):
        port.get_tensor().set_names({f"output_{index}"})
    _name_operators(model)
    return model


def _name_operators(model: Model) -> None:
    """Give operators that fusion made names that are the same in every process.

    OpenVINO numbers them by a counter of the process, and recipes refer to operators by name.
    """
    made: Counter[str] = Counter()
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if "/" not in op.get_friendly_name() and kind not in ("Parameter", "Constant", "Result"):
            op.set_friendly_name(f"{kind}_{made[kind]}")
            made[kind] += 1


def _order(model: Model, signature: Signature) -> list[int | None]:
    """Return for each leaf of a call the model's input it belongs to, or ``None`` when the model ignores it."""
    ports = {name: index for index, port in enumerate(model.inputs) for name in port.get_names()}
    return [ports.get(f"input_{leaf}") for leaf in range(len(signature.inputs))]


def _check_buckets(count: int, plan: BucketPlan) -> None:
    if not 0 <= count <= MAX_BUCKETS:
        raise UsageError(f"buckets={count} was asked; 0 (exact shapes) to {MAX_BUCKETS} can be used.")
    if count and plan.reason:
        raise UsageError(f"buckets={count} cannot be used with this model: {plan.reason}. Use buckets=0.")


def _check_trim(options: EngineOptions, plan: RaggedPlan) -> None:
    if options.trim and not options.buckets:
        raise UsageError("trim=True pads groups of rows to buckets; it needs buckets=1 or more.")
    if options.trim and plan.reason:
        raise UsageError(f"trim=True cannot be used with this model: {plan.reason}. Use trim=False.")


def _config(precision: str, options: EngineOptions) -> dict[str, Any]:
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY" if options.streams == 1 else "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": str(options.streams),
    }
    if options.pin:  # else OpenVINO decides by itself
        config["ENABLE_CPU_PINNING"] = True
    if options.threads:
        config["INFERENCE_NUM_THREADS"] = check_threads(options.threads)
    return config | options.hints


def _compile(core: Any, config: dict[str, Any], model: Model) -> CompiledModel:
    try:
        return core.compile_model(model, "CPU", config)
    except RuntimeError as error:
        raise UsageError(f"openvino refuses to open the model with {config}: {_first_line(error)}") from error


def _count(compiled: CompiledModel, precision: str) -> int:
    """Count executed operators of a precision, leaving out conversions and moves of data."""
    ignored = {"Input", "Output", "Reorder", "Convert", "Const", "Constant", "Parameter", "Result"}
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    rows = [(str(i["layerType"].astype(str)), str(i["runtimePrecision"].astype(str))) for i in infos if "runtimePrecision" in i]
    return sum(kind not in ignored and used == precision for kind, used in rows)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check"))]
    return telling[-1] if telling else type(error).__name__
