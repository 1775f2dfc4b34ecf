from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from strop.contract.draft import Draft, EngineOptions, Facts
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.engines import get
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.measure.host import Host
from strop.pipeline import Outcome, legal, prepare
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import conv_draft, draft_for, mlp_draft

HOST = Host(cpu="test", cores=4)


def laid_out() -> Draft:
    draft = conv_draft()
    draft.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    draft.layout = "channels_last"
    return draft


class TestLaws(InstructionLaws):
    case = LawCase(instruction=MemoryLayout(), draft=conv_draft, foreign=mlp_draft, idle=(MemoryLayout(), laid_out), host=HOST)


def test_lays_out_weights_and_asks_for_the_same_of_the_inputs() -> None:
    draft, tally = conv_draft(), Tally()
    MemoryLayout().at_freeze(draft, tally)
    assert draft.layout == "channels_last"
    assert draft.model.get_parameter("stem.weight").is_contiguous(memory_format=torch.channels_last)
    assert tally.to_json()["weights laid out"] > 0


class WithVolume(nn.Module):
    """A two-dimensional convolution beside a three-dimensional one."""

    def __init__(self) -> None:
        super().__init__()
        self.plane, self.volume = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.plane(image) + self.volume(image[:, :, None]).mean((2, 3, 4), keepdim=True)[:, :, 0]


def test_a_model_with_volumes_too_answers_in_the_layout(tmp_path: Path) -> None:
    draft = draft_for(WithVolume(), [torch.randn(2, 3, 8, 8)])
    done = prepare(draft, Recipe([MemoryLayout()]), HOST, tmp_path)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert done.tallies["memory_layout"] == {"weights laid out": 1, "image layout": 1, "options of opening": 0}
    program, image = get("eager").open(tmp_path, draft.signature, EngineOptions(), WithVolume), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(program(image), draft.model(image))


def test_threads_and_binding_are_options_of_opening() -> None:
    draft, tally = mlp_draft(), Tally()
    instruction = MemoryLayout(channels_last=False, threads=1, pin=True)
    instruction.at_freeze(draft, tally)
    assert tally.to_json() == {"options of opening": 2} and draft.layout == "contiguous"
    instruction.at_engine(draft, Tally())
    assert (draft.engine_options.threads, draft.engine_options.pin) == (1, True)
    assert instruction.opening == {"threads", "pin"}


def test_launch_settles_what_openmp_reads_at_start() -> None:
    assert MemoryLayout(threads=2).launch(HOST).environment == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    bound = MemoryLayout(pin=True).launch(HOST).environment
    assert bound == {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4", "OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}


def test_a_layout_excludes_engines_that_choose_their_own_but_threads_do_not() -> None:
    start, engine = mlp_draft().workload.traits, ModelServingFramework()
    assert "excludes" in str(legal(Recipe([MemoryLayout(), engine]), start))
    assert legal(Recipe([MemoryLayout(channels_last=False, threads=1), engine]), start) is None


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        (MemoryLayout(channels_last=False), "left as they are"),
        (MemoryLayout(channels_last=False, threads=4), "left as they are"),
        (MemoryLayout(channels_last=False, threads=5), "5 threads were asked for"),
        (MemoryLayout(), "no two-dimensional convolution"),
    ],
)
def test_declines_in_words(instruction: MemoryLayout, words: str) -> None:
    assert words in str(instruction.decline(mlp_draft(), HOST))


@pytest.mark.parametrize(("cores", "threads"), [(1, (0,)), (2, (0, 1)), (4, (0, 2, 1)), (8, (0, 4, 1))])
def test_offers_all_half_and_one_core(cores: int, threads: tuple[int, ...]) -> None:
    space = MemoryLayout().space(Facts(modules={"Conv2d": 1}), Host(cpu="test", cores=cores))
    assert space["threads"] == threads and space["channels_last"] == (True, False)
    assert MemoryLayout().space(Facts(modules={"Linear": 1}), HOST)["channels_last"] == (False,)


def test_negative_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads must be 0"):
        MemoryLayout(threads=-1)


def test_on_an_accelerator_there_is_the_layout_only() -> None:
    draft = conv_draft()
    draft.workload = replace(draft.workload, device="cuda")
    assert MemoryLayout().decline(draft, HOST) is None
    for settings in (MemoryLayout(threads=1), MemoryLayout(channels_last=False, pin=True)):
        assert "threads and pin are for the processor's cores, and this workload is on cuda" in str(settings.decline(draft, HOST))
    card = Host(cpu="test", cores=4, accelerators=("a test card",))
    assert set(MemoryLayout().space(draft.facts, card)) == {"channels_last"}
