"""The laws every instruction keeps, as functions and as a pytest suite for authors of instructions.

In a test file of your own::

    class TestMine(InstructionLaws):
        case = LawCase(instruction=Mine(), draft=conv_draft, foreign=mlp_draft, idle=(Mine(threshold=10**9), conv_draft))
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml

from strop.contract.card import Card, Fidelity
from strop.contract.instruction import identity
from strop.contract.moment import Moment
from strop.contract.pages import HEADINGS, sections, settings_lines, summary
from strop.contract.settings import decode, encode
from strop.loop.loop import TrainingLoop
from strop.loop.state import packed, unpacked
from strop.pipeline import Outcome, legal, train, walk
from strop.testing.case import LawBroken, LawCase

HEAVY = ("openvino", "nncf", "onnx", "onnxruntime", "onnxscript", "transformers", "optuna", "peft", "ray", "tensorrt")
"""Packages of extras; an import of an entry must do without them."""


def law_form(case: LawCase, folder: Path) -> None:
    """A final, frozen, keyword-only dataclass with a card, in a file named after its number and name."""
    cls = type(case.instruction)
    identity(cls)
    _hold(getattr(cls, "__final__", False), f"{cls.__name__} must be marked @final")
    parameters = getattr(cls, "__dataclass_params__", None)
    _hold(parameters is not None and parameters.frozen, f"{cls.__name__} must be a @dataclass(frozen=True, kw_only=True)")
    _hold(all(f.kw_only for f in dataclasses.fields(cls)), f"{cls.__name__}: settings must be keyword-only")  # type: ignore[arg-type]
    _hold(isinstance(cls.card, Card), f"{cls.__name__} has no card")
    _hold(bool(case.instruction.moments()), f"{cls.__name__} acts at no moment: define at_<moment>")
    known = {m.method for m in Moment}
    unknown = sorted(n for n, f in inspect.getmembers(cls, inspect.isfunction) if n.startswith("at_") and n not in known)
    _hold(not unknown, f"{cls.__name__} defines {unknown}, which is no moment; moments: {sorted(known)}")
    unhashable = [f.name for f in dataclasses.fields(cls) if not _hashable(getattr(case.instruction, f.name))]  # type: ignore[arg-type]
    _hold(not unhashable, f"{cls.__name__}: settings {unhashable} are mutable; use tuples")


def law_docstring(case: LawCase, folder: Path) -> None:
    """A summary line, the five headings, and one line with a unit for every setting."""
    check_docstring(type(case.instruction))


def check_docstring(cls: type) -> None:
    """Check the page of an entry of any kind.

    Raises:
        LawBroken: a part is missing or stands elsewhere.
    """
    _hold(0 < len(summary(cls)) <= 130, f"{cls.__name__}: the docstring must begin with one line of at most 130 characters")
    found = sections(cls)
    missing = [h for h in HEADINGS if not found.get(h)]
    _hold(not missing, f"{cls.__name__}: the docstring lacks {missing}")
    _hold(list(found) == list(HEADINGS), f"{cls.__name__}: headings must stand in the order {HEADINGS}")
    fields, lines = {f.name for f in dataclasses.fields(cls)}, settings_lines(cls)
    _hold(set(lines) == fields, f"{cls.__name__}: Settings describe {sorted(lines)}, the fields are {sorted(fields)}")
    unitless = [name for name, text in lines.items() if not text.rstrip().endswith(").")]
    _hold(not unitless, f"{cls.__name__}: {unitless} must end with their unit in brackets, for instance '(count).'")


def law_settings(case: LawCase, folder: Path) -> None:
    """Settings survive YAML as text and are read back by field type, for the case and for every value worth trying."""
    cls, draft = type(case.instruction), case.draft()
    variants = [case.instruction]
    for name, values in case.instruction.space(draft.facts, case.host).items():
        variants += [dataclasses.replace(case.instruction, **{name: value}) for value in values]  # type: ignore[type-var]
    for variant in variants:
        plain = yaml.load(yaml.safe_dump(encode(variant)), Loader=yaml.BaseLoader)  # noqa: S506 - text, lists and dicts only
        read = decode(cls, plain)
        _hold(read == variant, f"{variant} came back from YAML as {read}")
        _hold(hash(read) == hash(variant), f"{variant} and what came back from YAML have different hashes")


def law_import(case: LawCase, folder: Path) -> None:
    """Importing it needs no extra and changes neither environment, threads, warnings nor random numbers."""
    check_import(type(case.instruction))


def check_import(cls: type) -> None:
    """Check that importing an entry of any kind changes nothing.

    Raises:
        LawBroken: it needs an extra, or has effects.
    """
    module = sys.modules[cls.__module__]
    torch_first = "import torch\n" if re.search(r"^(import|from) torch\b", inspect.getsource(module), re.MULTILINE) else ""
    script = (
        "import sys, os, warnings, random, importlib\n"
        f"for name in {HEAVY!r}: sys.modules[name] = None\n"
        f"{torch_first}import strop.contract.instruction\n"
        "before = (dict(os.environ), list(warnings.filters), random.getstate(), os.getcwd(), list(sys.path))\n"
        f"module = importlib.import_module({cls.__module__!r})\n"
        "after = (dict(os.environ), list(warnings.filters), random.getstate(), os.getcwd(), list(sys.path))\n"
        "sys.exit('importing changed the process' if before != after else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    _hold(run.returncode == 0, f"importing {cls.__module__} fails or has effects: {run.stderr[-500:]}")


def law_pure(case: LawCase, folder: Path) -> None:
    """``ties``, ``launch`` and ``space`` answer the same twice and change nothing; the case's own recipe is legal."""
    draft = case.draft()
    state = process_state()  # after the draft, whose making may draw random numbers
    for ask in (case.instruction.ties, lambda: case.instruction.launch(case.host)):
        _hold(ask() == ask(), f"{case.instruction} answers differently when asked twice")
    spaces = [dict(case.instruction.space(draft.facts, case.host)) for _ in range(2)]
    _hold(spaces[0] == spaces[1], f"{case.instruction}: space differs when asked twice")
    _hold(process_state() == state, f"{case.instruction}: asking ties, launch or space changed the process")
    reason = legal(case.recipe, draft.workload.traits)
    _hold(reason is None, f"the recipe of the case is not legal: {reason}")


def law_declines(case: LawCase, folder: Path) -> None:
    """It takes its own example, and declines a foreign draft in words, leaving the draft alone."""
    own = case.instruction.decline(case.draft(), case.host)
    _hold(own is None, f"{case.instruction} declines its own example: {own}")
    draft = (case.foreign or case.draft)()
    before = _fingerprint(draft)
    reason = (case.declined or case.instruction).decline(draft, case.host)
    _hold(bool(reason) and len(str(reason).split()) >= 3, "it must decline with a reason in words")
    _hold(_fingerprint(draft) == before, f"{case.instruction}: decline changed the draft")


def law_fidelity(case: LawCase, folder: Path) -> None:
    """Answers (gradients, in training) on its own example depart no further than its fidelity allows; the tally is positive."""
    preparation, answers = case.run(folder / "artefact")
    counts = preparation.tallies[case.instruction.name]
    acts = any(moment <= Moment.LOWER for moment in case.instruction.moments())
    _hold(not acts or sum(counts.values()) > 0, f"it counted {counts} on its own example")
    worst = case.instruction.fidelity
    _hold(worst <= case.instruction.card.fidelity, "its settings are less faithful than its card says of the worst")
    limit = {Fidelity.EXACT: 0.0, Fidelity.ROUNDING: case.tolerance, Fidelity.LOSSY: np.inf}[worst]
    for old, new in zip(case.original_answers(), answers, strict=False):  # trained weights have no original
        for a, b in zip(old, new, strict=True):
            _hold(a.shape == b.shape and a.dtype == b.dtype, f"answers were {a.dtype}{a.shape}, now {b.dtype}{b.shape}")
            _hold(bool(np.isfinite(b).all()), "an answer is no longer finite")
            departure = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-12)) if a.size else 0.0
            _hold(departure <= limit, f"an answer departs by {departure:.3g} of its largest; {worst.name} allows {limit:g}")


def law_idle(case: LawCase, folder: Path) -> None:
    """Where it has nothing to do, ``no effect`` is what is said; what is pinned counts nothing there, or declines."""
    instruction, draft = case.idle
    idle = case.prepare(folder / "idle", instruction, draft)
    if instruction.card.pinned:
        count = sum(idle.tallies.get(instruction.name, {}).values())
        _hold(count == 0, f"with nothing to do it counted {idle.tallies}")
        return
    _hold(idle.outcome is Outcome.NO_EFFECT, f"with nothing to do it ended as {idle.outcome}: {idle.reason}{idle.tallies}")


def law_repeatable(case: LawCase, folder: Path) -> None:
    """The same seed gives the same artefact: equal tallies and bit-equal answers."""
    (one, first), (two, second) = case.run(folder / "1"), case.run(folder / "2")
    _hold(one == two, f"two preparations differ: {one} and {two}")
    for old, new in zip(first, second, strict=True):
        _hold(
            all(np.array_equal(a, b, equal_nan=True) for a, b in zip(old, new, strict=True)), "two artefacts answer differently"
        )


def law_resumes(case: LawCase, folder: Path) -> None:
    """Training that is cut in the middle and continued from its saved state ends with the very same weights."""
    if case.draft().training is None:
        return
    saved: list[Any] = []

    def cut(loop: TrainingLoop) -> None:
        loop.run(max(1, loop.total // 2))
        saved.append(packed(loop.state_dict()))

    def go_on(loop: TrainingLoop) -> None:
        tensors, form = saved[0]
        loop.load_state_dict(unpacked(form, tensors))
        loop.run()

    whole = case.trained(case.recipe)[1][1]
    case.trained(case.recipe, cut)
    resumed = case.trained(case.recipe, go_on)[1][1]
    _hold(all(np.array_equal(a, b) for a, b in zip(whole, resumed, strict=True)), "a resumed training ends with other weights")


def law_restores(case: LawCase, folder: Path) -> None:
    """Process state and the model's hooks are as before when the model fails in the middle."""
    draft = case.draft()
    leaf = [m for m in draft.model.modules() if not list(m.children())][-1]

    def fail(module: Any, args: Any) -> None:
        raise RuntimeError("planted")

    handle = leaf.register_forward_pre_hook(fail)
    state, hooks = process_state(), _hooks(draft.model)
    try:
        if draft.training is None:
            walk(draft, case.recipe, Moment.LOWER)
        else:
            train(draft, case.recipe, case.host)
    except Exception as error:  # noqa: BLE001 - the planted one, or what the instruction made of it
        _hold(_hooks(draft.model) == hooks, f"hooks stay on the model after {error!r}")
    finally:
        handle.remove()
    _hold(process_state() == state, f"{case.instruction}: the process is not as before after an exception")


Law = Callable[[LawCase, Path], None]
LAWS: tuple[Law, ...] = (
    law_form,
    law_docstring,
    law_settings,
    law_import,
    law_pure,
    law_declines,
    law_fidelity,
    law_idle,
    law_repeatable,
    law_resumes,
    law_restores,
)


class InstructionLaws:
    """All laws as pytest tests; subclass it as ``Test…`` and set ``case``."""

    case: ClassVar[LawCase]

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_law(self, law: Law, tmp_path: Path) -> None:
        """Keep one law."""
        law(self.case, tmp_path)


def run_laws(case: LawCase, folder: Path) -> dict[str, str]:
    """Try every law and return law → how it is broken; empty when all hold. For use without pytest."""
    broken = {}
    for law in LAWS:
        try:
            law(case, folder / law.__name__)
        except LawBroken as error:
            broken[law.__name__] = str(error)
    return broken


def _hold(kept: bool, message: str) -> None:
    if not kept:
        raise LawBroken(message)


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def process_state() -> tuple[Any, ...]:
    """Return what an entry must leave as it was: environment, threads, modes, random numbers, warnings, folder."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return (
        dict(os.environ),
        affinity,
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().numpy().tobytes(),
        list(warnings.filters),
        Path.cwd(),
    )


def _hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def _fingerprint(draft: Any) -> tuple[Any, ...]:
    state = {name: (tensor.data_ptr(), tuple(tensor.stride())) for name, tensor in draft.model.state_dict().items()}
    options = dataclasses.asdict(draft.engine_options)
    plan = draft.training
    added = plan and (len(plan.handlers), len(plan.around), list(plan.kept), plan.batches, plan.schedule, plan.driver)
    return (repr(draft.model), state, draft.engine, draft.precision, draft.quantization, draft.layout, options, added)
