from __future__ import annotations

import pytest
import torch

from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.measure.host import Host
from strop.pipeline import legal
from strop.testing.case import LawCase
from strop.testing.laws import LAWS, Law, law_fidelity, law_idle, law_repeatable
from strop.testing.models import mlp_draft

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
