"""What an arm's process runs: an opened artefact and the example inputs it is called with. Torch only if the engine needs it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from strop import engines
from strop.contract.draft import EngineOptions
from strop.contract.engine import Engine, Program, Source
from strop.contract.examples import digest, elements, read_examples, write_examples
from strop.contract.pytree import flatten, map_leaves, to_numpy
from strop.contract.signature import Call, Signature, as_call


class ProgramTarget:
    """An opened artefact with its operating points; what ``strop.measure`` calls a target."""

    def __init__(self, program: Program, inputs: Mapping[str, list[Call]]) -> None:
        self.points = {point: len(calls) for point, calls in inputs.items()}
        self._program = program
        self._inputs = inputs
        self._answer: Any = None
        self._variants: dict[tuple[str, int, int], Call] = {}

    def run(self, point: str, index: int) -> None:
        """Answer one call."""
        args, kwargs = self._inputs[point][index]
        self._answer = self._program(*args, **kwargs)

    def compile_events(self) -> int:
        """Return how many shapes the engine has compiled on first use."""
        return self._program.compiled

    def run_variant(self, point: str, index: int, variant: int) -> None:
        """Answer an input of the same shapes and kinds that was never given before; :meth:`make_variants` has made it."""
        args, kwargs = self._variants[point, index, variant]
        self._answer = self._program(*args, **kwargs)

    def make_variants(self, point: str, index: int, variants: Sequence[int]) -> None:
        """Derive fresh inputs, outside any clock: numbers are scaled a little, integers shuffled among their places.

        Zeros stay where they are and masks as they are, so that a padded batch keeps the lengths of its rows. Those made
        before are let go: they may be large.
        """
        self._variants.clear()
        for variant in variants:
            args, kwargs = map_leaves(_varied(variant), self._inputs[point][index])
            self._variants[point, index, variant] = tuple(args), kwargs

    def answer_digest(self) -> str:
        """Return the digest of the answer that the latest run left behind, as :meth:`digest` would give it."""
        return digest(self._answer)

    def digest(self, point: str, index: int) -> str:
        """Return a digest of one answer's exact bytes, dtypes, shapes and structure."""
        args, kwargs = self._inputs[point][index]
        return digest(self._program(*args, **kwargs))

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Return the shapes of one answer's arrays."""
        return [list(leaf.shape) for leaf in self._leaves(point, index)]

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Do something untimed: ``evaluate`` a file of inputs into a file of answers, ``diagnose`` the model, or read its
        ``tensor_peak``: the most bytes of tensors that one call holds, on its device, ``None`` where the engine works without
        torch or allocated them beforehand.
        """
        if method == "diagnose":
            return self._diagnose(arguments)
        if method == "tensor_peak":
            return self._tensor_peak()
        if method != "evaluate":
            raise ValueError(f"a program target has no method {method!r}")
        start = time.monotonic()
        calls = [_call(example, "torch" in sys.modules) for example in read_examples(Path(arguments["inputs"]))]
        chosen = calls[: arguments["first"]] if arguments.get("first") else calls
        answers = [map_leaves(to_numpy, self._program(*args, **kwargs)) for args, kwargs in chosen]
        write_examples(Path(arguments["answers"]), answers)
        return {"inputs": len(answers), "seconds": time.monotonic() - start}

    def _diagnose(self, arguments: Mapping[str, Any]) -> Any:
        """Only the original's arm is asked this: the eager engine's program, which has the model in it."""
        from strop.contract.draft import Facts
        from strop.diagnose.run import diagnose
        from strop.measure.host import read_host

        inputs = {point: [kwargs or args for args, kwargs in calls] for point, calls in self._inputs.items()}
        model = self._program.model  # type: ignore[attr-defined]
        return diagnose(model, inputs, read_host(), arguments["roofs"], facts=Facts(**arguments["facts"])).to_json()

    def _tensor_peak(self) -> int | None:
        device = self._program.tensor_device
        if "torch" not in sys.modules or device is None:
            return None
        from strop.measure.memory import tensor_peak

        largest = {point: max(range(len(calls)), key=lambda n: elements(calls[n])) for point, calls in self._inputs.items()}
        return max(tensor_peak(partial(self.run, point, index), device) for point, index in largest.items())

    def close(self) -> None:
        """Give back what the program holds."""
        self._program.close()

    def _leaves(self, point: str, index: int) -> list[np.ndarray[Any, Any]]:
        args, kwargs = self._inputs[point][index]
        return [to_numpy(leaf) for leaf in flatten(self._program(*args, **kwargs))[0]]


def open_target(arguments: Mapping[str, Any]) -> ProgramTarget:
    """Open what a preparing process left.

    Args:
        arguments: ``engine``, ``artefact`` (folder), ``options`` (of opening), ``signature``, ``points`` (name → file), and
            ``task``, read only when the engine must rebuild the model from its source.
    """
    engine = engines.get(arguments["engine"])
    options = EngineOptions(**arguments["options"])
    signature = Signature.from_json(arguments["signature"])
    program = engine.open(Path(arguments["artefact"]), signature, options, source(engine, arguments["task"]))
    inputs = {
        point: [_call(example, engine.imports_torch) for example in read_examples(Path(file))]
        for point, file in arguments["points"].items()
    }
    return ProgramTarget(program, inputs)


def source(engine: Engine, told: Mapping[str, Any]) -> Source | None:
    """Return the way to rebuild a trial's model, for engines that need the model's own code."""
    if not engine.needs_source:
        return None

    def build() -> Any:
        from strop import catalogue
        from strop.pipeline import rebuild
        from strop.trial.materials import Materials, build_model
        from strop.trial.task import Task

        task = Task.from_json(told)
        workload = task.reference.load()
        draft = Materials(task.materials).draft(workload, build_model(workload, task.seed), task.seed)
        return rebuild(draft, catalogue.recipe_from_json(task.recipe))

    return build


def _varied(variant: int) -> Callable[[Any], Any]:
    def vary(leaf: Any) -> Any:
        array = fresh = to_numpy(leaf)
        if array.dtype.kind in "fc":
            fresh = (array * (1 + variant * 2.0**-12)).astype(array.dtype)
        elif not np.isin(array, (0, 1)).all():
            fresh = array.copy()
            fresh[array != 0] = np.random.default_rng(variant).permutation(array[array != 0])
        if isinstance(leaf, np.ndarray):
            return fresh
        import torch

        return torch.from_numpy(fresh)

    return vary


def _call(example: Any, as_torch: bool) -> Call:
    if as_torch:
        import torch

        example = map_leaves(torch.from_numpy, example)
    return as_call(example)
