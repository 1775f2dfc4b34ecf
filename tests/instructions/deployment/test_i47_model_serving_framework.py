from __future__ import annotations

from dataclasses import replace

import pytest

from strop import engines
from strop.contract.draft import Draft, Facts
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.measure.host import Host
from strop.pipeline import legal
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import attention_draft, mlp_draft

HOST = Host(cpu="test", cores=2)


def lowered_before() -> Draft:
    draft = mlp_draft()
    draft.engine = "openvino"
    return draft


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=ModelServingFramework(buckets=2),
        draft=attention_draft,
        foreign=mlp_draft,
        idle=(ModelServingFramework(), lowered_before),
        host=HOST,
    )


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_hands_the_model_to_the_engine_and_adds_its_traits(engine: str) -> None:
    instruction = ModelServingFramework(engine=engine)  # type: ignore[arg-type]
    draft, tally = mlp_draft(), Tally()
    instruction.at_lower(draft, tally)
    assert draft.engine == engine and tally.to_json() == {f"model lowered to {engine}": 1}
    assert instruction.ties().adds == engines.get(engine).adds and Trait.ENGINE in instruction.ties().adds


def test_buckets_and_streams_are_options_of_opening() -> None:
    draft = attention_draft()
    instruction = ModelServingFramework(buckets=3, trim=True, streams=2, linear="convolution")
    instruction.at_engine(draft, Tally())
    options = draft.engine_options
    assert (options.buckets, options.trim, options.streams, options.linear) == (3, True, 2, "convolution")
    assert instruction.opening == {"buckets", "trim", "streams", "linear"}


def test_rows_are_regrouped_only_on_top_of_buckets() -> None:
    facts = Facts(dynamic=True)
    assert "trim" not in ModelServingFramework().space(facts, HOST)
    assert ModelServingFramework(buckets=4).space(facts, HOST)["trim"] == (False, True)
    assert "buckets" not in ModelServingFramework(buckets=4, trim=True).space(facts, HOST), "or trim would be left alone"
    with pytest.raises(ValueError, match="trim pads groups of rows to buckets"):
        ModelServingFramework(trim=True)


def test_linear_layers_run_as_convolutions_only_where_sizes_are_fixed_and_most_products_are_linear() -> None:
    encoder = Facts(dynamic=False, modules={"Linear": 73, "LayerNorm": 25}, depth=12)
    both = ("product", "convolution")
    assert ModelServingFramework().space(encoder, HOST)["linear"] == both
    assert "engine" not in ModelServingFramework(linear="convolution").space(encoder, HOST), "onnxruntime has none"
    elsewhere = [
        (ModelServingFramework(), replace(encoder, dynamic=True)),
        (ModelServingFramework(), replace(encoder, modules={"Conv2d": 49, "Linear": 1})),
        (ModelServingFramework(), replace(encoder, depth=0)),
        (ModelServingFramework(engine="onnxruntime"), encoder),
    ]
    assert not any("linear" in instruction.space(facts, HOST) for instruction, facts in elsewhere)
    asked = ModelServingFramework(linear="convolution")
    assert "vary" in str(asked.decline(attention_draft(), HOST)) and asked.decline(mlp_draft(), HOST) is None
    with pytest.raises(ValueError, match="on openvino only"):
        ModelServingFramework(engine="onnxruntime", linear="convolution")


def test_two_engines_exclude_each_other() -> None:
    reason = legal(Recipe([ModelServingFramework(), GraphCompile()]), mlp_draft().workload.traits)
    assert "an engine other than eager" in str(reason)
    for choice in (GraphCompile(), ModelServingFramework()):
        assert choice.ties().excludes == {Trait.ENGINE, Trait.ACCELERATOR}


def test_buckets_are_offered_and_taken_only_where_a_dimension_varies() -> None:
    assert ModelServingFramework().space(Facts(dynamic=True), HOST)["buckets"] == (0, 3)
    assert "buckets" not in ModelServingFramework().space(Facts(dynamic=False), HOST)
    assert "buckets" not in ModelServingFramework(engine="onnxruntime").space(Facts(dynamic=True), HOST), "it has none"
    assert "one shape" in str(ModelServingFramework(buckets=1).decline(mlp_draft(), HOST))
    assert ModelServingFramework(buckets=1).decline(attention_draft(), HOST) is None


def test_more_streams_than_cores_are_declined() -> None:
    assert "2 cores" in str(ModelServingFramework(streams=3).decline(mlp_draft(), HOST))


@pytest.mark.parametrize("settings", [{"buckets": -1}, {"buckets": 5}, {"streams": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ModelServingFramework(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_declines_on_an_accelerator(engine: str) -> None:
    draft = mlp_draft()
    draft.workload = replace(draft.workload, device="cuda")
    chosen = ModelServingFramework(engine=engine)  # type: ignore[arg-type]
    assert chosen.decline(draft, HOST) == f"{engine} runs on the processor, and this workload is on cuda"
    assert engines.get(engine).decline(draft, HOST) == chosen.decline(draft, HOST)
    told = legal(Recipe([chosen]), draft.workload.traits)
    assert told == "47 model_serving_framework cannot be used with an accelerator"
