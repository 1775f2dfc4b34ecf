from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import torch

from strop.contract.card import Fidelity
from strop.contract.draft import Draft
from strop.instructions.inference.i31_kernel_fusion import FOLD, KernelFusion
from strop.measure.host import Host
from strop.testing import laws
from strop.testing.case import LawBroken, LawCase
from strop.testing.models import conv_draft, mlp_draft, training_draft

GOOD = '''
from dataclasses import dataclass
from typing import Annotated, final
import torch
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.ties import ties

@final
@dataclass(frozen=True, kw_only=True)
class DoubleHalf(Instruction):
    """Double the first weight and halve the second.

    What it does:
        Changes nothing in the end.

    Why it helps:
        It does not.

    When it does not:
        Ever.

    Settings:
        rate: by how much (factor).

    References:
        None.
    """

    card = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)
    rate: Annotated[float, Choices(2.0, 1e-5)] = 2.0

    def ties(self):
        return ties()

    def decline(self, draft, host):
        return None if hasattr(draft.model, "norm0") else "it works on one model only"

    def at_freeze(self, draft, tally):
        if self.rate != 1.0:
            tally.add("weights", 1)
        pass  # ACT
'''


def case_of(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LawCase:
    """Load an instruction from its text, as a file of a plug-in, and build its case."""
    name = "i91_double_half"
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop(name, None)
    module = __import__(name)
    monkeypatch.setitem(sys.modules, name, module)
    cls = module.DoubleHalf
    return LawCase(
        instruction=cls(), draft=conv_draft, foreign=mlp_draft, idle=(cls(rate=1.0), conv_draft), host=Host(cpu="x", cores=2)
    )


def test_a_good_instruction_breaks_no_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert laws.run_laws(case_of(GOOD, tmp_path, monkeypatch), tmp_path / "run") == {}


BAD = [
    ("law_form", "@final\n", "", "@final"),
    ("law_form", "frozen=True, ", "", "frozen=True"),
    ("law_form", "at_freeze", "at_frezee", "acts at no moment"),
    ("law_docstring", "    Why it helps:\n        It does not.\n", "", "Why it helps"),
    ("law_docstring", "rate: by how much (factor).", "rate: by how much.", "unit in brackets"),
    ("law_docstring", "        rate: by how much (factor).", "        speed: by how much (factor).", "the fields are"),
    ("law_settings", "float, Choices(2.0, 1e-5)] = 2.0", "str, Choices('a', 7)] = 'a'", "came back from YAML"),
    ("law_import", "import torch\n", "import torch, openvino\n", "openvino"),
    ("law_import", "import torch\n", "import os; os.environ['PLANTED'] = str(os.getpid())\n", "importing changed the process"),
    (
        "law_pure",
        "        return ties()",
        "        import random\n        return random.random()",
        "differently when asked twice",
    ),
    ("law_declines", '"it works on one model only"', '"no"', "reason in words"),
    (
        "law_declines",
        "        return None if",
        "        draft.layout = 'channels_last'\n        return None if",
        "decline changed the draft",
    ),
    ("law_fidelity", '"weights", 1', '"weights", 0', "ended as no effect"),
    ("law_fidelity", "pass  # ACT", "draft.model.head.bias.data += 1e-3", "departs"),
    ("law_fidelity", "pass  # ACT", "draft.model.head.bias.data[0] = float('nan')", "no longer finite"),
    ("law_idle", "if self.rate != 1.0:", "if True:", "with nothing to do it ended as prepared"),
    ("law_repeatable", "pass  # ACT", "draft.model.head.bias.data += __import__('os').urandom(1)[0] + 1", "answer differently"),
    ("law_repeatable", 'tally.add("weights", 1)', 'import time; tally.add("weights", time.time_ns())', "preparations differ"),
    ("law_restores", "pass  # ACT", "torch.set_grad_enabled(False); draft.model(draft.examples[0])", "not as before"),
    ("law_restores", "pass  # ACT", "draft.model.register_forward_hook(print); draft.model(draft.examples[0])", "hooks stay"),
]


@pytest.mark.parametrize(("law", "old", "new", "words"), BAD, ids=[f"{row[0]}-{i}" for i, row in enumerate(BAD)])
def test_a_planted_fault_breaks_its_law(
    law: str, old: str, new: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old in GOOD
    grad = torch.is_grad_enabled()
    before = dict(os.environ)
    try:
        case = case_of(GOOD.replace(old, new, 1), tmp_path, monkeypatch)
        with pytest.raises(LawBroken, match=words):
            getattr(laws, law)(case, tmp_path / "run")
    finally:
        torch.set_grad_enabled(grad)
        os.environ.pop("PLANTED", None)
    assert dict(os.environ) == before


TRAINER = (
    GOOD.replace("    def at_freeze(self, draft, tally):\n        if", "    def at_loop(self, draft, tally):\n        if")
    .replace('hasattr(draft.model, "norm0")', "draft.training.max_norm is None")
    .replace("pass  # ACT", "draft.training.on('before_loss', lambda loop: None)")
)
STATEFUL = """steps = []
        from strop.contract.loop_event import LoopEvent
        draft.training.on(LoopEvent.STEP_END, lambda loop: steps.append(1))
        def louder(loop):
            loop.loss = loop.loss * (1 + len(steps))
        draft.training.on(LoopEvent.AFTER_LOSS, louder)"""
"""Each step counts for more; the count is in no checkpoint."""

LOUDER = """from strop.contract.loop_event import LoopEvent
        def louder(loop):
            loop.loss = loop.loss * 1.5
        draft.training.on(LoopEvent.AFTER_LOSS, louder)"""

BAD_TRAINING = [
    ("law_resumes", STATEFUL, "a resumed training ends with other weights"),
    ("law_fidelity", LOUDER, "departs"),
    ("law_idle", "pass\n        tally.add('x')", "with nothing to do it ended as prepared"),
    ("law_repeatable", "draft.model.head.bias.data += __import__('os').urandom(1)[0]", "answer differently"),
    ("law_restores", "torch.set_grad_enabled(False)", "not as before"),
    ("law_declines", "pass", "decline changed the draft"),
]


def training_case(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LawCase:
    case = case_of(text, folder, monkeypatch)
    idle = (type(case.instruction)(rate=1.0), training_draft)  # type: ignore[call-arg]
    return dataclasses.replace(case, draft=training_draft, foreign=lambda: training_draft(max_norm=1.0), idle=idle)


def test_a_good_instruction_of_training_breaks_no_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert laws.run_laws(training_case(TRAINER, tmp_path, monkeypatch), tmp_path / "run") == {}


@pytest.mark.parametrize(("law", "act", "words"), BAD_TRAINING, ids=[row[0] for row in BAD_TRAINING])
def test_a_planted_fault_in_training_breaks_its_law(
    law: str, act: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TRAINER.replace("draft.training.on('before_loss', lambda loop: None)", act)
    if law == "law_declines":
        text = text.replace("        return None if", "        draft.training.on('batch', print)\n        return None if")
    grad = torch.is_grad_enabled()
    try:
        case = training_case(text, tmp_path, monkeypatch)
        with pytest.raises(LawBroken, match=words):
            getattr(laws, law)(case, tmp_path / "run")
    finally:
        torch.set_grad_enabled(grad)


def test_every_law_has_a_planted_fault() -> None:
    assert {row[0] for row in (*BAD, *BAD_TRAINING)} == {law.__name__ for law in laws.LAWS}


def test_a_case_that_is_not_prepared_says_why(tmp_path: Path) -> None:
    case = LawCase(instruction=KernelFusion(rules=FOLD), draft=mlp_draft, idle=(KernelFusion(), mlp_draft))
    with pytest.raises(LawBroken, match="ended as declined: kernel_fusion: the model has no"):
        case.run(tmp_path)


def test_rounding_is_held_to_the_tolerance_of_the_case(tmp_path: Path) -> None:
    case = LawCase(instruction=KernelFusion(threshold=1), draft=conv_draft, foreign=mlp_draft, idle=(KernelFusion(), conv_draft))
    assert KernelFusion().fidelity is Fidelity.ROUNDING
    laws.law_fidelity(case, tmp_path / "a")
    with pytest.raises(LawBroken, match="departs"):
        laws.law_fidelity(dataclasses.replace(case, tolerance=1e-12), tmp_path / "b")


def test_drafts_are_fresh_and_the_same() -> None:
    def weights(draft: Draft) -> list[torch.Tensor]:
        return list(draft.model.state_dict().values())

    one, two = conv_draft(), conv_draft()
    assert one.model is not two.model
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.examples, two.examples, strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_draft_that_seeds_the_process_is_not_taken_for_an_instruction_that_does(seed: int, tmp_path: Path) -> None:
    def seeding() -> Draft:
        torch.manual_seed(0)
        torch.rand(3)
        return conv_draft()

    torch.manual_seed(seed)  # whatever a test before this one left
    laws.law_pure(LawCase(instruction=KernelFusion(rules=FOLD), draft=seeding, idle=(KernelFusion(), mlp_draft)), tmp_path)
