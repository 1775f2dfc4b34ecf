"""PyTorch itself, as it should be run: ``eval``, ``inference_mode``, all cores; optional low precision, channels-last, graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from strop.contract.device import PROCESSOR
from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine, Program, Source
from strop.contract.pytree import unflatten
from strop.contract.signature import Signature
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.engines.calls import (
    AnswerWriter,
    CallReader,
    installed,
    read_settings,
    refuse_buckets,
    require,
    tensors_of,
    write_settings,
)
from strop.engines.graphs import ShapeGraphs, capture_known, cuda_capture, rehearse
from strop.engines.hosted import Forward, device_of, hosted
from strop.engines.precision import count_operators, decline_precision
from strop.engines.threads import hold_cores
from strop.errors import ArtefactError
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch import Tensor, nn

_WEIGHTS = "weights.safetensors"


@final
class EagerEngine(Engine):
    """Runs the model's own code. The artefact holds the weights; the code comes from the source at opening.

    The thread count is a setting of the whole process in PyTorch; :meth:`Program.close` puts the former one back.
    """

    name: ClassVar[str] = "eager"
    extra: ClassVar[str | None] = None
    adds: ClassVar[frozenset[Trait]] = frozenset({Trait.EAGER_ENGINE, Trait.BF16_ENGINE})
    needs_source: ClassVar[bool] = True
    imports_torch: ClassVar[bool] = True

    def available(self) -> bool:
        """Tell whether torch is installed."""
        return installed("torch")

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline int8, shape buckets, graphs without an accelerator, and low precision that would have to be emulated."""
        if draft.quantization is not None:
            return "the eager engine runs no int8; choose onnxruntime or openvino"
        if draft.engine_options.buckets:
            return "the eager engine runs exact shapes and has no shape buckets"
        if draft.graphs is not None and draft.device == PROCESSOR:
            return "CUDA graphs are an accelerator's, and this workload is on the processor"
        return decline_precision(draft, host)

    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        """Write the weights, tied ones once, and the intents; where graphs are meant, capture and compare the examples."""
        from safetensors.torch import save_model

        save_model(draft.model, str(folder / _WEIGHTS))
        settings: dict[str, Any] = {
            "precision": draft.precision.dtype if draft.precision else None,
            "layout": draft.layout,
            "device": draft.device,
        }
        if draft.graphs is not None:
            forward = _forward(_placed(draft.model.eval(), settings, draft.device), draft.signature, settings, draft.device)
            settings["graphs"] = {"shapes": draft.graphs.shapes, "known": rehearse(forward, draft)}
        write_settings(folder, settings)
        if draft.precision is not None:
            dtype = draft.precision.dtype
            draft.precision.tally.add(f"operators in {dtype}", count_operators(draft, dtype))

    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        """Rebuild the model by ``source``, give it the artefact's weights and put it on the device it was prepared for."""
        require(self)
        refuse_buckets(self.name, options.buckets)
        if source is None:
            raise ArtefactError("an eager artefact holds weights only; give the workload that builds the model (source=).")
        settings = read_settings(folder)
        device = device_of(settings)  # before the workload's own code runs
        model = _load(source().eval(), folder / _WEIGHTS)
        return _EagerProgram(model, signature, settings, options, device)


class _EagerProgram(Program):
    def __init__(
        self, model: nn.Module, signature: Signature, settings: dict[str, Any], options: EngineOptions, device: str
    ) -> None:
        self._device, graphs = device, settings.get("graphs")
        self._model = _placed(model, settings, device)
        self._reader, self._writer = CallReader(signature), AnswerWriter(signature)
        forward = _forward(self._model, signature, settings, device)
        self._answer = forward if device == PROCESSOR else hosted(forward, device)
        self._replayed: ShapeGraphs | None = None
        if graphs is not None:
            capture = cuda_capture(forward, device, type(model).__name__)
            self._answer = self._replayed = ShapeGraphs(self._answer, capture, graphs["shapes"])
            capture_known(self._replayed, graphs["known"], signature)
        self._release = hold_cores(options.threads, options.pin)

    @property
    def model(self) -> nn.Module:
        """The module that answers, for those who want to look inside."""
        return self._model

    @property
    def compiled(self) -> int:
        """How many shapes were captured in graphs."""
        return len(self._replayed) if self._replayed is not None else 0

    @property
    def tally(self) -> Tally:
        """Shapes that were captured in graphs, and calls beyond their bound; empty without graphs."""
        return self._replayed.tally if self._replayed is not None else Tally()

    @property
    def tensor_device(self) -> str | None:
        """A graph's tensors were allocated when it was captured."""
        return self._device if self._replayed is None else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one call."""
        import torch

        leaves, as_torch = tensors_of(self._reader.leaves(args, kwargs))
        with torch.inference_mode():
            return self._writer.from_tensors(self._answer(leaves), as_torch)

    def close(self) -> None:
        """Put the process's former thread settings back."""
        self._release()


def _placed(model: nn.Module, settings: dict[str, Any], device: str) -> nn.Module:
    """Return the model on its device and in its layout."""
    from strop.surgery.layout import channels_last

    placed = model if device == PROCESSOR else model.to(device)
    return channels_last(placed) if settings["layout"] == "channels_last" else placed


def _forward(model: nn.Module, signature: Signature, settings: dict[str, Any], device: str) -> Forward:
    """Return the model as a function of its tensors on its device."""
    import torch

    tree, writer, channels_last = signature.input_tree, AnswerWriter(signature), settings["layout"] == "channels_last"
    kind, low = device.partition(":")[0], settings["precision"]
    dtype = getattr(torch, low or "bfloat16")

    def forward(leaves: Sequence[Tensor]) -> list[Any]:
        if channels_last:
            leaves = [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in leaves]
        positional, keywords = unflatten(tree, leaves)
        # Entered for each forward: weights cast outside of a capture would be gone when it is replayed.
        with torch.autocast(kind, dtype, enabled=low is not None):
            return writer.leaves(model(*positional, **keywords))

    return forward


def _load(model: nn.Module, weights: Path) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, weights, strict=True, device="cpu")
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{weights.name} is missing or damaged ({error}). Prepare the artefact again.") from error
    except RuntimeError as error:
        raise ArtefactError(f"{weights.name} does not fit the model that the source builds: {error}") from error
    return model
