"""PyTorch itself, as it should be run: ``eval``, ``inference_mode``, all cores, optional bfloat16 and channels-last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine, Program, Source
from strop.contract.pytree import unflatten
from strop.contract.signature import Signature
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
from strop.engines.precision import count_bfloat16_operators, decline_precision
from strop.engines.threads import hold_cores
from strop.errors import ArtefactError
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch import nn

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
        """Decline int8, shape buckets, and bfloat16 that the host would have to emulate."""
        if draft.quantization is not None:
            return "the eager engine runs no int8; choose onnxruntime or openvino"
        if draft.engine_options.buckets:
            return "the eager engine runs exact shapes and has no shape buckets"
        return decline_precision(draft, host)

    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        """Write the weights, tied ones once, and the intents."""
        from safetensors.torch import save_model

        save_model(draft.model, str(folder / _WEIGHTS))
        write_settings(folder, {"precision": draft.precision.dtype if draft.precision else None, "layout": draft.layout})
        if draft.precision is not None:
            draft.precision.tally.add("operators in bfloat16", count_bfloat16_operators(draft))

    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        """Rebuild the model by ``source`` and give it the artefact's weights."""
        require(self)
        refuse_buckets(self.name, options.buckets)
        if source is None:
            raise ArtefactError("an eager artefact holds weights only; give the workload that builds the model (source=).")
        settings = read_settings(folder)
        model = _load(source().eval(), folder / _WEIGHTS)
        return _EagerProgram(model, signature, settings, options)


class _EagerProgram(Program):
    def __init__(self, model: nn.Module, signature: Signature, settings: dict[str, Any], options: EngineOptions) -> None:
        import torch

        self._channels_last = settings["layout"] == "channels_last"
        self._model = model.to(memory_format=torch.channels_last) if self._channels_last else model  # type: ignore[call-overload]
        self._bfloat16 = settings["precision"] is not None
        self._reader, self._writer = CallReader(signature), AnswerWriter(signature)
        self._tree = signature.input_tree
        self._release = hold_cores(options.threads, options.pin)

    @property
    def model(self) -> nn.Module:
        """The module that answers, for those who want to look inside."""
        return self._model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one call."""
        import torch

        leaves, as_torch = tensors_of(self._reader.leaves(args, kwargs))
        if self._channels_last:
            leaves = [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in leaves]
        positional, keywords = unflatten(self._tree, leaves)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            return self._writer.from_model(self._model(*positional, **keywords), as_torch)

    def close(self) -> None:
        """Put the process's former thread settings back."""
        self._release()


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
