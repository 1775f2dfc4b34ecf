"""How any process gets at the user's workload: a file and a function, a model folder or hub id, or a live object."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from strop.contract.workload import InferenceWorkload, ServingWorkload, TrainingWorkload, Workload
from strop.errors import WorkloadError, did_you_mean
from strop.ledger.files import sha256
from strop.trial.live import fetch

DEFAULT = "workload"
"""Function that is called where none is named."""
HUB_OPTIONS = ("task", "data", "text", "label")
INSTALLED = frozenset({"site-packages", "dist-packages"})
COMMANDS = {InferenceWorkload: "optimize", TrainingWorkload: "train", ServingWorkload: "optimize --aim goodput"}
"""Kind of workload → the command that takes it."""

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a workload comes from.

    Attributes:
        kind: ``"file"`` (``path.py`` or ``path.py:function``), ``"hf"`` (a model folder or hub id) or ``"live"``.
        value: the path, the folder or id, or the address of the private pipe.
        options: for ``"hf"``: task, data file and columns.
    """

    kind: str
    value: str
    options: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {"kind": self.kind, "value": self.value, "options": dict(self.options)}

    @property
    def replayable(self) -> bool:
        """Whether another process, tomorrow, can rebuild the workload from this."""
        return self.kind != "live"

    @property
    def text(self) -> str:
        """What a command takes for it; empty for a live object."""
        return {"file": self.value, "hf": f"hf:{self.value}"}.get(self.kind, "")

    def load(self) -> InferenceWorkload:
        """Build the inference workload in this process.

        Raises:
            WorkloadError: there is no such file, it does not hold such a workload, or its own code failed.
        """
        if self.kind == "live":
            workload: InferenceWorkload = fetch(self.value)
            return workload
        if self.kind == "hf":
            from strop.trial.hub import hub_workload

            return hub_workload(self.value, **self.options)
        found: InferenceWorkload = _load_file(self.value, InferenceWorkload)
        return found

    def load_training(self) -> TrainingWorkload:
        """Build the training workload in this process.

        Raises:
            WorkloadError: as :meth:`load`; or the reference is a model folder or hub id, which says nothing about training.
        """
        if self.kind == "live":
            workload: TrainingWorkload = fetch(self.value)
            return workload
        if self.kind == "hf":
            raise WorkloadError(
                f"{self.kind}:{self.value} says nothing about loss and optimizer; write a file with a function workload() that "
                f"returns a strop.TrainingWorkload."
            )
        found: TrainingWorkload = _load_file(self.value, TrainingWorkload)
        return found

    def load_any(self) -> Workload:
        """Build the workload, of whichever kind it is, in this process.

        Raises:
            WorkloadError: as :meth:`load`.
        """
        if self.kind == "live":
            workload: Workload = fetch(self.value)
            return workload
        if self.kind == "hf":
            return self.load()
        found: Workload = _load_file(self.value, InferenceWorkload, TrainingWorkload, ServingWorkload)
        return found

    def digest(self) -> str:
        """Return a digest of what the workload is made of: the file, the function's name and local imports, or a folder's files.

        A live object is known by the address of its pipe, so nothing made from it is found again by another run.

        Call it after :meth:`load`, when the local imports are known.
        """
        if self.kind != "file":
            state = hashlib.sha256(f"{self.kind}:{self.value}:{sorted(self.options.items())}".encode())
            for part in sorted(Path(self.value).iterdir()) if self.kind == "hf" and Path(self.value).is_dir() else ():
                if part.is_file():
                    state.update(part.name.encode() + b"\0" + sha256(part).encode())
            return state.hexdigest()
        name, _, function = self.value.partition(".py:")
        path = Path(name.removesuffix(".py") + ".py").resolve()
        # Two functions of a file may build models of equal weights that compute something else.
        state = hashlib.sha256((function or DEFAULT).encode() + b"\0")
        for source in [path, *_local_imports(path)]:
            state.update(os.path.relpath(source, path.parent).encode() + b"\0" + source.read_bytes())
        return state.hexdigest()


def parse_reference(argument: str, /, **options: str) -> Reference:
    """Read a workload argument: ``workload.py``, ``workload.py:function`` or ``hf:FOLDER-OR-ID``.

    Paths are made absolute, so that the reference can be replayed from another folder.

    Raises:
        WorkloadError: an option that this kind of workload does not have.
    """
    given = {name: value for name, value in options.items() if value}
    if argument.startswith("hf:"):
        for name in given:
            if name not in HUB_OPTIONS:
                raise WorkloadError(f"hf: workloads have no option {name!r}.{did_you_mean(name, HUB_OPTIONS)}")
        if "data" in given:
            given["data"] = str(Path(given["data"]).resolve())
        folder = Path(argument[3:])
        return Reference(kind="hf", value=str(folder.resolve()) if folder.is_dir() else argument[3:], options=given)
    if given:
        raise WorkloadError(f"{', '.join(sorted(given))} can be given for hf: workloads only; {argument} is a file.")
    path, _, function = argument.partition(".py:")
    resolved = str(Path(path + ".py" if function else argument).resolve())
    return Reference(kind="file", value=f"{resolved}:{function}" if function else resolved)


def _load_file(value: str, *kinds: type[Any]) -> Any:
    path, _, function = value.partition(".py:")
    file = Path(path + ".py" if function else value)
    if not file.exists():
        names = [p.name for p in file.parent.glob("*.py")]
        raise WorkloadError(f"there is no workload file {file}.{did_you_mean(file.name, names) if names else ''}")
    if file.suffix != ".py":
        raise WorkloadError(f"{file} is not a Python file; a workload is a .py file that holds a {_names(kinds)}.")
    return _find_workload(_import(file), file, function, kinds)


def _import(file: Path) -> ModuleType:
    # Named by path and content: after an edit in the same session, this process must see what its children will see.
    name = f"strop_workload_{hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise WorkloadError(f"{file} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling by reference look the module up by name
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # so that a workload may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise WorkloadError(f"{file} failed while being imported: {type(error).__name__}: {error}") from error
    return module


def _find_workload(module: ModuleType, file: Path, function: str, kinds: tuple[type[Any], ...]) -> Any:
    if function:
        if not hasattr(module, function):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise WorkloadError(f"{file} has no {function!r}.{did_you_mean(function, public)}")
        return _call(getattr(module, function), file, function, kinds)
    if hasattr(module, DEFAULT):
        return _call(getattr(module, DEFAULT), file, DEFAULT, kinds)
    found = [(n, v) for n, v in vars(module).items() if isinstance(v, kinds)]
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise WorkloadError(
            f"{file} holds no workload; define a function workload() that returns a {_names(kinds)}, "
            f"or name another one: {file.name}:FUNCTION."
        )
    raise WorkloadError(f"{file} holds {len(found)} workloads ({', '.join(n for n, _ in found)}); name one: {file.name}:NAME.")


def _call(value: Any, file: Path, name: str, kinds: tuple[type[Any], ...]) -> Any:
    if callable(value):
        try:
            value = value()
        except WorkloadError:
            raise
        except (Exception, SystemExit) as error:
            raise WorkloadError(f"{name}() in {file} failed: {type(error).__name__}: {error}") from error
    if not isinstance(value, kinds):
        hint = f" It is for: strop {COMMANDS[type(value)]} {file.name}" if isinstance(value, Workload) else ""
        raise WorkloadError(f"{name} in {file} gave a {type(value).__name__}; a {_names(kinds)} was expected.{hint}")
    return value


def _names(kinds: tuple[type[Any], ...]) -> str:
    *others, last = [f"strop.{kind.__name__}" for kind in kinds]
    return f"{', '.join(others)} or {last}" if others else last


def _local_imports(file: Path) -> list[Path]:
    """Source files imported now that lie below the workload's folder, or directly in its parent; no installed packages."""
    files = [str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())]
    # torch names some of its modules' files without a folder, which would seem to lie wherever the run was started
    found = {p.resolve() for n in files if n.endswith(".py") and (p := Path(n)).is_absolute() and p.is_file()}
    near = (p for p in found if p != file and (file.parent in p.parents or p.parent == file.parent.parent))
    return sorted(p for p in near if not INSTALLED & set(p.parts) and STANDARD_LIBRARY not in p.parents)
