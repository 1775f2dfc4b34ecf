"""A case of the laws: it prepares, runs and compares what an author of an instruction gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from strop import engines
from strop.contract.draft import EngineOptions
from strop.contract.instruction import Instruction
from strop.errors import RecipeError
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.instructions.inference.i31_kernel_fusion import FOLD, KernelFusion
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.measure.host import Host
from strop.pipeline import Outcome
from strop.testing.case import LawBroken, LawCase
from strop.testing.models import attention_draft, conv_draft, mlp_draft

HOST = Host(cpu="a test CPU", cores=2)
SERVE = ModelServingFramework(engine="onnxruntime")


def case(instruction: Instruction, **changed: Any) -> LawCase:
    parts: dict[str, Any] = {"draft": conv_draft, "idle": (instruction, conv_draft), "host": HOST}
    return LawCase(instruction=instruction, **{**parts, **changed})


def test_the_recipe_is_the_instruction_with_its_companions() -> None:
    made = case(StaticQuantization(), companions=[SERVE])
    assert [i.number for i in made.recipe] == [29, 47]
    assert case(KernelFusion()).recipe.instructions == (KernelFusion(),)


def test_a_companion_of_the_same_number_is_refused() -> None:
    with pytest.raises(RecipeError, match="29 appears more than once"):
        _ = case(StaticQuantization(), companions=[StaticQuantization(symmetric=True)]).recipe


def test_another_instruction_and_another_draft_can_take_their_place(tmp_path: Path) -> None:
    made = case(KernelFusion(rules=FOLD), companions=[SERVE])
    other = made.prepare(tmp_path, StaticQuantization(symmetric=True), mlp_draft)
    assert "kernel_fusion" not in other.tallies
    assert other.tallies["static_quantization"] == {"int8 Gemm": 2}
    assert other.tallies["model_serving_framework"], "and the companions stay"


@pytest.mark.parametrize(
    ("made", "draft"),
    [
        (case(KernelFusion(rules=FOLD)), conv_draft),
        (case(MemoryLayout(threads=1)), conv_draft),
        (case(SERVE, draft=attention_draft), attention_draft),
    ],
    ids=["eager", "opening", "onnxruntime"],
)
def test_running_gives_the_answers_of_the_artefact_to_every_example(made: LawCase, draft: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    preparation, answers = made.run(tmp_path)
    assert preparation.outcome is Outcome.PREPARED
    wanted = made.original_answers()
    assert len(answers) == len(wanted) == len(draft().examples)
    for got, want in zip(answers, wanted, strict=True):
        assert [a.shape for a in got] == [a.shape for a in want]
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(got, want, strict=True))
    assert torch.get_num_threads() == threads, "and the program was closed"


def test_the_artefact_answers_and_not_the_model(tmp_path: Path) -> None:
    made = case(StaticQuantization(), companions=[SERVE])
    preparation, answers = made.run(tmp_path)
    assert preparation.tallies["static_quantization"] == {"int8 Conv": 3, "int8 Gemm": 1}
    departures = [float(np.abs(a[0] - b[0]).max()) for a, b in zip(answers, made.original_answers(), strict=True)]
    assert all(departure > 0 for departure in departures), "int8 answers are not float answers"


def test_options_of_opening_reach_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[EngineOptions] = []
    engine = type(engines.get("eager"))
    opened = engine.open

    def look(self: Any, folder: Any, signature: Any, options: EngineOptions, source: Any = None) -> Any:
        seen.append(options)
        return opened(self, folder, signature, options, source)

    monkeypatch.setattr(engine, "open", look)
    case(MemoryLayout(threads=1)).run(tmp_path)
    assert [options.threads for options in seen] == [1]


def test_a_program_is_closed_even_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Broken:
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("planted")

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(type(engines.get("eager")), "open", lambda *_: Broken())
    with pytest.raises(RuntimeError, match="planted"):
        case(KernelFusion(rules=FOLD)).run(tmp_path)
    assert closed == [True]


def test_an_example_that_is_not_prepared_breaks_the_law_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(LawBroken, match="ended as declined: static_quantization: the workload has no calibration split"):
        uncalibrated = case(StaticQuantization(), companions=[SERVE], draft=lambda: _without_calibration())
        uncalibrated.run(tmp_path)
    assert issubclass(LawBroken, AssertionError), "so that a test runner shows it as a failure and not as an error"


def _without_calibration() -> Any:
    from strop.testing.models import Mlp, draft_for

    return draft_for(Mlp(), [torch.ones(1, 16)], calibration=[])


def test_the_original_answers_are_those_of_an_untouched_model() -> None:
    made = case(KernelFusion())
    one, two = made.original_answers(), made.original_answers()
    assert all(np.array_equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
    draft = conv_draft()
    with torch.inference_mode():
        assert np.allclose(one[0][0], draft.model(draft.examples[0]).numpy(), atol=1e-6)


def test_an_exact_artefact_answers_bit_for_bit_whatever_threads_the_process_had(tmp_path: Path) -> None:
    """The number of threads decides in which order sums are taken, and an artefact is opened with all cores."""
    former = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        made = case(MemoryLayout(channels_last=False, pin=True))
        _, answers = made.run(tmp_path)
        wanted = made.original_answers()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(former)
    assert all(np.array_equal(a, b) for x, y in zip(answers, wanted, strict=True) for a, b in zip(x, y, strict=True))
