from __future__ import annotations

import pytest
import torch

from strop.contract.draft import Draft
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.contract.workload import TrainingWorkload
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.loop.evaluate import evaluate
from strop.loop.loop import TrainingLoop
from strop.measure.host import Host
from strop.pipeline import Outcome, Preparation, legal, train
from strop.testing.case import LawCase
from strop.testing.laws import LAWS, Law, law_fidelity, law_idle, law_repeatable
from strop.testing.models import TinyAttention, mlp_draft, training_draft

HOST = Host(cpu="test", cores=2)


def compiled() -> Draft:
    draft = mlp_draft()
    draft.model = torch.compile(draft.model)  # type: ignore[assignment]
    return draft


def lowered_before() -> Draft:
    draft = mlp_draft()
    draft.engine = "inductor"
    return draft


CASE = LawCase(instruction=GraphCompile(), draft=mlp_draft, foreign=compiled, idle=(GraphCompile(), lowered_before), host=HOST)
COMPILING = (law_fidelity, law_idle, law_repeatable)


@pytest.mark.parametrize("law", [law for law in LAWS if law not in COMPILING], ids=lambda law: law.__name__)
def test_law(law: Law, tmp_path_factory: pytest.TempPathFactory) -> None:
    law(CASE, tmp_path_factory.mktemp("law"))


@pytest.mark.slow
@pytest.mark.parametrize("law", COMPILING, ids=lambda law: law.__name__)
def test_law_that_compiles(law: Law, tmp_path_factory: pytest.TempPathFactory) -> None:
    law(CASE, tmp_path_factory.mktemp("law"))


def test_hands_the_model_to_the_compiler_once() -> None:
    draft, tally = mlp_draft(), Tally()
    GraphCompile().at_lower(draft, tally)
    assert draft.engine == "inductor" and tally.to_json() == {"model compiled": 1}


@pytest.mark.parametrize("freezing", [True, False])
def test_freezing_is_said_when_lowering_and_when_opening(freezing: bool) -> None:
    for act in ("at_lower", "at_engine"):
        draft = mlp_draft()
        getattr(GraphCompile(freezing=freezing), act)(draft, Tally())
        assert draft.engine_options.hints == {"freezing": "on" if freezing else "off"}


def test_excludes_other_engines() -> None:
    recipe = Recipe([GraphCompile(), ModelServingFramework()])
    assert "an engine other than eager" in str(legal(recipe, mlp_draft().workload.traits))


def test_declines_a_model_that_is_compiled_already() -> None:
    assert "OptimizedModule" in str(GraphCompile().decline(compiled(), HOST))


@pytest.mark.slow
def test_a_compiled_training_takes_the_steps_of_a_plain_one() -> None:
    plain, losses = steps(Recipe([]))
    quick, same = steps(Recipe([GraphCompile()]))
    assert plain.tallies == {} and quick.outcome is Outcome.PREPARED
    # one graph, with free sizes: batches of other lengths are not compiled for, and judging is not compiled at all
    assert quick.tallies["graph_compile"] == {"graphs compiled": 1}
    assert len(losses) == 6 and same == pytest.approx(losses, rel=1e-4), "dropout draws the same numbers"


class Dropping(TinyAttention):
    """Of which a fifth of every embedding is dropped while it trains."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.embed = torch.nn.Sequential(self.embed, torch.nn.Dropout(0.2))  # type: ignore[assignment]


def steps(recipe: Recipe) -> tuple[Preparation, list[float]]:
    draft, losses = training_draft(model=Dropping), list[float]()
    assert draft.training is not None
    draft.training.on(LoopEvent.STEP_END, lambda loop: losses.append(float(loop.step_loss)))

    def run(loop: TrainingLoop) -> None:
        assert isinstance(draft.workload, TrainingWorkload)
        loop.run()
        evaluate(loop, draft.workload.metric, draft.workload.confirming)

    return train(draft, recipe, HOST, run=run), losses


def test_a_student_that_is_trained_on_the_way_is_not_compiled() -> None:
    draft = mlp_draft()
    GraphCompile().at_compile(draft, tally := Tally())
    assert draft.training is None and tally.total == 0
