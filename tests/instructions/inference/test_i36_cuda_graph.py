"""What an accelerator is needed for (fidelity, idleness, repetition) is in tests/cuda."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strop.contract.draft import Draft, Graphs
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.engines import get
from strop.instructions.inference.i31_kernel_fusion import FOLD, KernelFusion
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.instructions.inference.i36_cuda_graph import CudaGraph
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.measure.host import Host
from strop.pipeline import Outcome, legal, prepare
from strop.testing.case import LawCase
from strop.testing.laws import LAWS, Law, law_fidelity, law_idle, law_repeatable
from strop.testing.models import mlp_draft

HOST = Host(cpu="test", cores=2, accelerators=("a test card",))


def on_a_card() -> Draft:
    draft = mlp_draft()
    draft.workload = replace(draft.workload, device="cuda")
    return draft


CASE = LawCase(instruction=CudaGraph(), draft=on_a_card, foreign=mlp_draft, idle=(CudaGraph(), on_a_card), host=HOST)
CAPTURING = (law_fidelity, law_idle, law_repeatable)


@pytest.mark.parametrize("law", [law for law in LAWS if law not in CAPTURING], ids=lambda law: law.__name__)
def test_law(law: Law, tmp_path_factory: pytest.TempPathFactory) -> None:
    law(CASE, tmp_path_factory.mktemp("law"))


def test_declares_one_intent_with_its_own_tally() -> None:
    draft, tally = on_a_card(), Tally()
    CudaGraph(shapes=8).at_lower(draft, tally)
    assert draft.graphs == Graphs(shapes=8, tally=tally) and tally.total == 0, "the engine counts what it captures"


def test_the_processor_declines_it_in_words() -> None:
    assert CudaGraph().decline(on_a_card(), HOST) is None
    assert "save launches on an accelerator, and this workload is on the processor" in str(CudaGraph().decline(mlp_draft(), HOST))


def test_a_recipe_with_it_needs_an_accelerator_and_the_eager_engine() -> None:
    card, processor = on_a_card().workload.traits, mlp_draft().workload.traits
    assert legal(Recipe([CudaGraph()]), processor) == "36 cuda_graph needs an accelerator, which nothing in the recipe adds"
    assert legal(Recipe([CudaGraph()]), card) is None
    assert legal(Recipe([CudaGraph(), AmpOptimizer()]), card) is None
    assert legal(Recipe([CudaGraph(), KernelFusion(rules=FOLD)]), card) is None
    assert legal(Recipe([CudaGraph(), GraphCompile()]), card) == "35 graph_compile cannot be used with an accelerator"


def test_the_engine_has_no_graphs_on_the_processor_and_says_so() -> None:
    draft = mlp_draft()
    draft.graphs = Graphs(shapes=8, tally=Tally())
    assert "CUDA graphs are" in str(get("eager").decline(draft, HOST))


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes must be at least 1, got 0"):
        CudaGraph(shapes=0)


def test_it_is_declined_before_anything_is_lowered(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("artefact")
    done = prepare(mlp_draft(), Recipe([CudaGraph()]), HOST, folder)
    assert done.outcome is Outcome.DECLINED and done.reason.startswith("cuda_graph: ") and not list(folder.iterdir())
