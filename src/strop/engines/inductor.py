"""torch.export and AOTInductor: the model compiled ahead of time to native code, weights frozen into it."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from strop.contract.device import processor_only
from strop.contract.draft import Draft, EngineOptions
from strop.contract.engine import Engine, Program, Source
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
from strop.engines.precision import count_operators, decline_precision
from strop.engines.threads import hold_cores
from strop.errors import ArtefactError, PrepareError, UsageError
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_PACKAGE = "model.pt2"


def cpp_compiler() -> str:
    """Return the name or path of the C++ compiler that torch's inductor would call; it need not be there."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


@final
class InductorEngine(Engine):
    """Compiles the exported graph with free dimensions into one package of native code.

    Weights are frozen (treated as constants): batch norms fold into convolutions, weights are laid out for the kernels
    ahead of time and bfloat16 weights are converted once. ``hints={"freezing": "off"}`` on the draft's engine options
    leaves that out. Loading a package runs the code in it.
    """

    name: ClassVar[str] = "inductor"
    extra: ClassVar[str | None] = None
    adds: ClassVar[frozenset[Trait]] = frozenset({Trait.ENGINE, Trait.COMPILED, Trait.BF16_ENGINE})
    runs_code: ClassVar[bool] = True
    imports_torch: ClassVar[bool] = True

    def available(self) -> bool:
        """Tell whether torch is installed."""
        return installed("torch")

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline accelerators, int8, shape buckets, hosts without a C++ compiler, and bfloat16 that would be emulated.

        A package that AOTInductor compiled for an accelerator ended the process that loaded it (PyTorch 2.11, torch's own
        loader included), and a package that nobody saw work is not offered.
        """
        if (elsewhere := processor_only("the inductor engine", draft.device)) is not None:
            return elsewhere
        if draft.quantization is not None:
            return "the inductor engine runs no int8; choose onnxruntime or openvino"
        if draft.engine_options.buckets:
            return "the inductor engine compiles free dimensions and has no shape buckets"
        compiler = cpp_compiler()
        if shutil.which(compiler) is None:
            return f"compiling needs a C++ compiler, and {compiler} is not on the path; install it or name another in CXX"
        return decline_precision(draft, host)

    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        """Export, compile and package; bfloat16 is autocast captured in the graph."""
        from strop.engines.export import export_program

        bfloat16 = draft.precision is not None
        freezing = _freezing(draft.engine_options)
        _package(export_program(draft, bfloat16=bfloat16), folder / _PACKAGE, freezing, type(draft.model).__name__)
        write_settings(folder, {"freezing": freezing})
        if draft.precision is not None:
            draft.precision.tally.add("operators in bfloat16", count_operators(draft, "bfloat16"))

    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        """Load the package, which runs its code; ``options.streams`` calls can run side by side."""
        require(self)
        refuse_buckets(self.name, options.buckets)
        frozen = read_settings(folder).get("freezing")
        if "freezing" in options.hints and _freezing(options) != frozen:
            raise UsageError(
                f"freezing is settled at lowering, and this artefact was made with freezing={frozen}. Lower it again."
            )
        from torch._C._aoti import AOTIModelPackageLoader

        path = folder / _PACKAGE
        if not path.is_file():
            raise ArtefactError(f"{_PACKAGE} is missing. Prepare the artefact again.")
        try:
            loader = AOTIModelPackageLoader(str(path), "model", False, options.streams, -1)
        except RuntimeError as error:
            raise ArtefactError(f"{_PACKAGE} cannot be loaded ({error}). Prepare the artefact again.") from error
        return _InductorProgram(loader, signature, options)


class _InductorProgram(Program):
    def __init__(self, loader: Any, signature: Signature, options: EngineOptions) -> None:
        self._loader = loader
        self._reader, self._writer = CallReader(signature), AnswerWriter(signature)
        self._release = hold_cores(options.threads, options.pin)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one call; may be called from several threads."""
        leaves, as_torch = tensors_of(self._reader.checked(args, kwargs))
        # The loader's own __call__ parses the call's description from JSON each time.
        return self._writer.from_tensors(self._loader.boxed_run([leaf.contiguous() for leaf in leaves]), as_torch)

    def close(self) -> None:
        """Drop the loaded code and put the process's former thread settings back."""
        self._loader = None
        self._release()


def _package(program: ExportedProgram, path: Path, freezing: bool, model: str) -> None:
    import torch
    from torch._inductor import aoti_compile_and_package

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler calls deprecated parts of torch itself
            aoti_compile_and_package(program, package_path=str(path), inductor_configs={"freezing": freezing})
    except Exception as error:  # the compiler raises many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PrepareError(f"inductor cannot compile {model}: {lines[0]}") from error


def _freezing(options: EngineOptions) -> bool:
    wanted = options.hints.get("freezing", "on")
    if wanted not in ("on", "off"):
        raise UsageError(f"the hint freezing is on or off; got {wanted!r}.")
    return wanted == "on"
