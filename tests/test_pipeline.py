"""A recipe's way through the moments: what is legal, in which order it acts, how preparing ends, and what a key depends on."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import linecache
import logging
import os
import random
import re
import subprocess
import sys
import tomllib
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strop import engines
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft, EngineOptions
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.moment import Moment
from strop.contract.recipe import Recipe
from strop.contract.signature import infer_signature
from strop.contract.ties import Ties, Trait, ties
from strop.errors import MissingExtraError, PrepareError, RecipeError
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i28_dynamic_quantization import DynamicQuantization
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.instructions.inference.i31_kernel_fusion import FOLD, KernelFusion
from strop.instructions.inference.i34_knowledge_distillation import KnowledgeDistillation
from strop.instructions.inference.i35_graph_compile import GraphCompile
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.measure.host import Host
from strop.pipeline import Outcome, Preparation, artefact_key, fit_key, graph_key, legal, opening, prepare, rebuild, train, walk
from strop.testing.models import Deep, attention_draft, conv_draft, deep_draft, mlp_draft, training_draft

ROOT = Path(__file__).resolve().parents[1]
HOST = Host(cpu="a test CPU", cores=2, isa=frozenset({"avx512_bf16"}))
START = frozenset({Trait.INFERENCE})
SERVE = ModelServingFramework(engine="onnxruntime")

Act = Callable[[Draft, Any], None]


def planted(
    number: int,
    name: str,
    *acts: Moment,
    act: Act | None = None,
    tied: Ties | None = None,
    declines: str | None = None,
    pinned: bool = False,
    log: list[str] | None = None,
) -> Instruction:
    """Build an instruction that counts one change at each of its moments, or does what ``act`` says, and logs it."""

    def at(moment: Moment) -> Callable[[Any, Draft, Any], None]:
        def method(self: Any, draft: Draft, tally: Any) -> None:
            if log is not None:
                log.append(f"{name}.{moment.name}")
            if act is None:
                tally.add("changes")
            else:
                act(draft, tally)

        return method

    body: dict[str, Any] = {
        "__module__": f"i{number:02d}_{name}",
        "card": Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT, pinned=pinned),
        "ties": lambda self: tied or Ties(),
        "decline": lambda self, draft, host: declines,
        **{moment.method: at(moment) for moment in acts},
    }
    cls: Any = dataclasses.dataclass(frozen=True)(type(name, (Instruction,), body))
    made: Instruction = cls()
    return made


def nothing(draft: Draft, tally: Any) -> None:
    """Change nothing, and say so."""
    tally.add("layers", 0)


def fail_with(error: BaseException) -> Act:
    def act(draft: Draft, tally: Any) -> None:
        raise error

    return act


def state() -> tuple[Any, ...]:
    """Return what of the process an interrupted preparation could leave changed."""
    return (
        dict(os.environ),
        os.sched_getaffinity(0),
        Path.cwd(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # type: ignore[index]
        list(warnings.filters),
        logging.root.manager.disable,
    )


@dataclasses.dataclass(frozen=True)
class Done:
    """What preparing an int8 recipe gave, and where."""

    recipe: Recipe
    preparation: Preparation
    folder: Path


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The two-layer net in static int8 on ONNX Runtime, prepared once, under a path with spaces and Chinese characters."""
    recipe, folder = Recipe([SERVE, StaticQuantization()]), tmp_path_factory.mktemp("größe 例") / "ein artefakt"
    return Done(recipe, prepare(mlp_draft(), recipe, HOST, folder), folder)


# legal -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ([], None),
        ([KernelFusion()], None),
        ([SERVE, DynamicQuantization()], None),
        ([SERVE, StaticQuantization(), KernelFusion(rules=FOLD)], None),
        ([AmpOptimizer()], None),
        ([DynamicQuantization()], "28 dynamic_quantization needs an engine that quantises activations on the fly, which nothing"),
        ([StaticQuantization()], "29 static_quantization needs an engine that runs calibrated int8"),
        ([SERVE, DynamicQuantization(), StaticQuantization()], "excludes 29 static_quantization: both bring quantised weights"),
        ([SERVE, KernelFusion()], "31 kernel_fusion excludes 47 model_serving_framework: both bring an engine other than eager"),
        ([SERVE, GraphCompile()], "35 graph_compile excludes 47 model_serving_framework"),
        ([SERVE, AmpOptimizer()], "18 amp_optimizer needs an engine that runs bfloat16"),
        ([AmpOptimizer(), KernelFusion()], "31 kernel_fusion excludes 18 amp_optimizer"),
        ([SERVE, MemoryLayout()], "38 memory_layout excludes 47 model_serving_framework"),
        ([SERVE, MemoryLayout(channels_last=False)], None),
    ],
)
def test_what_is_legal_and_why_the_rest_is_not(recipe: list[Instruction], words: str | None) -> None:
    answers = {legal(Recipe(order), START) for order in itertools.permutations(recipe)}
    assert len(answers) == 1, "whatever order the instructions came in"
    (answer,) = answers
    assert answer is None if words is None else words in str(answer)


def test_needs_are_met_by_the_start_by_another_instruction_or_by_the_eager_engine() -> None:
    needs = planted(91, "needing", tied=ties(needs=(Trait.TRAINING, Trait.COMPILED)))
    brings = planted(92, "bringing", tied=ties(adds=(Trait.COMPILED,)))
    assert legal(Recipe([needs, brings]), START | {Trait.TRAINING}) is None
    both = "91 needing needs a compiled graph and training workload, which nothing in the recipe adds"
    assert legal(Recipe([needs]), START) == both
    eager = planted(93, "eager_only", tied=ties(needs=(Trait.EAGER_ENGINE,)))
    assert legal(Recipe([eager]), START) is None
    assert "93 eager_only needs the eager engine" in str(legal(Recipe([eager, SERVE]), START))


def test_what_an_instruction_itself_brings_is_no_clash_but_the_start_is() -> None:
    alone = planted(91, "only_one", tied=ties(adds=(Trait.QUANTIZED,), excludes=(Trait.QUANTIZED,)))
    assert legal(Recipe([alone]), START) is None
    assert legal(Recipe([alone]), START | {Trait.QUANTIZED}) == "91 only_one cannot be used with quantised weights"


def test_a_number_cannot_stand_twice_in_what_is_walked() -> None:
    with pytest.raises(RecipeError, match="instruction 91 appears more than once"):
        Recipe([planted(91, "one"), planted(91, "other")])


def test_legality_needs_neither_torch_nor_an_engines_packages() -> None:
    code = (
        "import sys\n"
        "from strop import catalogue, pipeline\n"
        "recipe = catalogue.recipe_from_json({'static_quantization': {}, 'model_serving_framework': {}, 'graph_compile': {}})\n"
        "assert 'excludes' in pipeline.legal(recipe, frozenset())\n"
        "heavy = {'torch', 'openvino', 'nncf', 'onnx', 'onnxruntime'} & set(sys.modules); assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# walk --------------------------------------------------------------------------------------------------------------


def test_moments_come_in_order_instructions_in_numeric_order_and_finish_the_other_way_round() -> None:
    for order in itertools.permutations((91, 92, 93)):
        log: list[str] = []
        recipe = Recipe([planted(n, f"n{n}", Moment.SERVE, Moment.FINISH, Moment.DATA, log=log) for n in order])
        walk(mlp_draft(), recipe, Moment.SERVE)
        assert log == [
            *("n91.DATA", "n92.DATA", "n93.DATA"),
            *("n93.FINISH", "n92.FINISH", "n91.FINISH"),
            *("n91.SERVE", "n92.SERVE", "n93.SERVE"),
        ]


@pytest.mark.parametrize("until", list(Moment))
def test_the_walk_goes_up_to_its_end_and_no_further(until: Moment) -> None:
    log: list[str] = []
    tallies = walk(training_draft(), Recipe([planted(91, "all", *Moment, log=log)]), until)
    assert log == [f"all.{moment.name}" for moment in Moment if moment <= until]
    assert tallies["all"].total == len(log), "one tally through all of an instruction's moments"


def test_where_nothing_is_trained_the_moments_of_training_pass_unused() -> None:
    log: list[str] = []
    walk(mlp_draft(), Recipe([planted(91, "all", *Moment, log=log)]), Moment.LOWER)
    assert log == [f"all.{m}" for m in ("DATA", "SOURCE", "RESHAPE", "ADAPT", "SHARD", "FINISH", "FREEZE", "LOWER")]


def test_a_walk_goes_on_where_another_ended_and_finishes_last_in_first_out() -> None:
    log: list[str] = []
    recipe = Recipe([planted(91, "one", Moment.WRAP, Moment.FINISH, log=log), planted(92, "two", *Moment, log=log)])
    draft = training_draft()
    tallies = walk(draft, recipe, Moment.WRAP, since=Moment.WRAP)
    walk(draft, recipe, Moment.FINISH, since=Moment.FINISH, tallies=tallies)
    assert log == ["one.WRAP", "two.WRAP", "two.FINISH", "one.FINISH"]
    assert [tally.total for tally in tallies.values()] == [2, 2]


def test_each_instruction_counts_for_itself() -> None:
    recipe = Recipe([planted(91, "one", Moment.DATA, Moment.LOWER), planted(92, "two", Moment.FREEZE), planted(93, "none")])
    tallies = walk(mlp_draft(), recipe, Moment.LOWER)
    assert {name: tally.total for name, tally in tallies.items()} == {"one": 2, "two": 1, "none": 0}


def test_later_moments_see_what_earlier_ones_did() -> None:
    seen: list[nn.Module] = []

    def replace(draft: Draft, tally: Any) -> None:
        draft.model = nn.Identity()
        tally.add("models")

    def look(draft: Draft, tally: Any) -> None:
        seen.append(draft.model)

    walk(
        mlp_draft(),
        Recipe([planted(92, "change", Moment.SOURCE, act=replace), planted(91, "look", Moment.LOWER, act=look)]),
        Moment.LOWER,
    )
    assert isinstance(seen[0], nn.Identity)


def test_a_recipe_is_rebuilt_up_to_freeze_and_no_further() -> None:
    log: list[str] = []
    draft = mlp_draft()
    assert rebuild(draft, Recipe([planted(91, "all", *Moment, log=log)])) is draft.model
    assert log[-1] == "all.FREEZE"


def test_options_of_opening_are_set_at_engine_alone() -> None:
    log: list[str] = []
    draft = mlp_draft()
    recipe = Recipe([planted(91, "all", *Moment, log=log), ModelServingFramework(buckets=2, streams=2), MemoryLayout(threads=1)])
    assert opening(draft, recipe) == EngineOptions(buckets=2, streams=2, threads=1)
    assert log == ["all.ENGINE"] and draft.engine == "eager"
    assert opening(mlp_draft(), Recipe()) == EngineOptions()


# train -------------------------------------------------------------------------------------------------------------


def test_training_happens_once_between_loop_and_finish() -> None:
    log: list[str] = []
    draft = training_draft()
    assert draft.training is not None
    draft.training.on(LoopEvent.FIT_START, lambda loop: log.append("fit"))
    before = {name: value.clone() for name, value in draft.model.state_dict().items()}
    done = train(draft, Recipe([planted(91, "all", *Moment, log=log)]), HOST)
    assert done.outcome is Outcome.PREPARED
    assert log[log.index("all.LOOP") :] == ["all.LOOP", "fit", "all.FINISH"]
    assert any(not torch.equal(before[name], value) for name, value in draft.model.state_dict().items())


def test_a_training_is_carried_out_as_the_caller_says() -> None:
    draft, steps = training_draft(), []
    train(draft, Recipe(), HOST, run=lambda loop: (loop.run(2), steps.append(loop.step)))  # type: ignore[arg-type, func-returns-value]
    assert steps == [2]


@pytest.mark.parametrize(
    ("made", "outcome", "words"),
    [
        (planted(91, "one", Moment.LOOP, declines="not this model"), Outcome.DECLINED, "one: not this model"),
        (planted(91, "one", Moment.LOWER), Outcome.DECLINED, "one: it acts when a trained model is lowered"),
        (planted(91, "one", Moment.LOOP, act=fail_with(MissingExtraError("it", "hf"))), Outcome.LACKS_DEPENDENCY, "strop.hf."),
        (planted(91, "one", Moment.LOOP, act=nothing), Outcome.NO_EFFECT, "one changed nothing"),
    ],
)
def test_what_an_instruction_does_not_do_becomes_the_outcome(made: Instruction, outcome: Outcome, words: str) -> None:
    done = train(training_draft(), Recipe([made]), HOST)
    assert done.outcome is outcome and re.search(words, done.reason)


def test_a_recipe_that_trains_inside_an_inference_workload_trains_before_it_is_lowered(tmp_path: Path) -> None:
    log: list[str] = []

    def ask(draft: Draft, tally: Any) -> None:
        draft.training = dataclasses.replace(
            training_draft().training,  # type: ignore[type-var]
            data=draft.examples,
            collate=lambda samples: samples[0],
            batches=lambda epoch: [[0], [1]],
            forward=lambda model, batch: model(batch),
            loss=lambda outputs, batch: outputs.square().mean(),
        )
        draft.training.on(LoopEvent.STEP_END, lambda loop: log.append("step"))
        tally.add("losses")

    done = prepare(mlp_draft(), Recipe([planted(91, "own_loss", Moment.SOURCE, act=ask)]), HOST, tmp_path)
    assert done.outcome is Outcome.PREPARED and log == ["step"] * 4


# prepare -----------------------------------------------------------------------------------------------------------


def test_a_prepared_recipe_says_what_each_instruction_did(int8: Done) -> None:
    done = int8.preparation
    assert done.outcome is Outcome.PREPARED and done.reason == "" and done.engine == "onnxruntime"
    assert done.tallies["model_serving_framework"] == {"model lowered to onnxruntime": 1}
    assert done.tallies["static_quantization"] == {"int8 Gemm": 2}
    assert list(done.sensitivity.values()) == sorted(done.sensitivity.values(), reverse=True)
    assert len(done.sensitivity) == 2
    assert (int8.folder / "model.onnx").exists()


def test_the_first_to_decline_ends_it_before_anything_acts(tmp_path: Path) -> None:
    log: list[str] = []
    recipe = Recipe(
        [
            planted(93, "late", Moment.DATA, declines="not me either", log=log),
            planted(92, "early", Moment.DATA, declines="the model has no layers", log=log),
            planted(91, "willing", Moment.DATA, log=log),
        ]
    )
    done = prepare(mlp_draft(), recipe, HOST, tmp_path / "artefact")
    assert done == Preparation(outcome=Outcome.DECLINED, reason="early: the model has no layers")
    assert log == [] and not (tmp_path / "artefact").exists()


def test_what_an_engine_declines_is_declined_in_its_words(tmp_path: Path) -> None:
    recipe = Recipe([planted(91, "quantise", Moment.LOWER, act=lambda draft, tally: StaticQuantization().at_lower(draft, tally))])
    done = prepare(mlp_draft(), recipe, HOST, tmp_path / "artefact")
    assert (done.outcome, done.engine) == (Outcome.DECLINED, "eager")
    assert "runs no int8" in done.reason and not (tmp_path / "artefact").exists()


@pytest.mark.parametrize("moment", [Moment.DATA, Moment.FREEZE, Moment.LOWER])
def test_a_tally_of_zero_is_no_effect_and_names_who_changed_nothing(moment: Moment, tmp_path: Path) -> None:
    recipe = Recipe(
        [
            planted(91, "busy", moment),
            planted(92, "idle", moment, act=nothing),
            planted(93, "idle_too", moment, act=nothing),
        ]
    )
    done = prepare(mlp_draft(), recipe, HOST, tmp_path)
    assert done.outcome is Outcome.NO_EFFECT
    assert done.reason == "idle, idle_too changed nothing in this model"
    assert done.tallies == {"busy": {"changes": 1}, "idle": {"layers": 0}, "idle_too": {"layers": 0}}


@pytest.mark.parametrize(
    "harmless",
    [
        planted(92, "asked_for", Moment.FREEZE, act=nothing, pinned=True),
        planted(92, "at_opening", Moment.ENGINE, Moment.SERVE, act=nothing),
    ],
    ids=["pinned", "acts after lowering"],
)
def test_who_is_pinned_or_acts_only_at_opening_may_change_nothing(harmless: Instruction, tmp_path: Path) -> None:
    assert prepare(mlp_draft(), Recipe([planted(91, "busy", Moment.DATA), harmless]), HOST, tmp_path).outcome is Outcome.PREPARED


def test_the_recipe_without_instructions_is_the_original(tmp_path: Path) -> None:
    draft = mlp_draft()
    before = copy.deepcopy(draft.model.state_dict())
    model = draft.model
    done = prepare(draft, Recipe(), HOST, tmp_path)
    assert done == Preparation(outcome=Outcome.PREPARED, engine="eager", tallies={}, sensitivity={})
    assert draft.model is model and not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    program = engines.get("eager").open(tmp_path, draft.signature, EngineOptions(), lambda: copy.deepcopy(model))
    with torch.inference_mode():
        assert torch.equal(program(draft.examples[0]), model(draft.examples[0]))
    program.close()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe([KernelFusion()]),
        Recipe([KernelFusion(rules=FOLD), SERVE, StaticQuantization()]),
        Recipe([MemoryLayout()]),
        Recipe([AmpOptimizer()]),
    ],
    ids=str,
)
def test_the_users_own_model_and_data_are_left_as_they_were(recipe: Recipe, tmp_path: Path) -> None:
    draft = conv_draft()
    own, inputs = draft.model, [x.clone() for x in draft.examples]
    before, strides = copy.deepcopy(own.state_dict()), {name: p.stride() for name, p in own.named_parameters()}
    draft.model = copy.deepcopy(own)
    assert draft.workload.model() is own
    assert prepare(draft, recipe, HOST, tmp_path).outcome is Outcome.PREPARED
    assert draft.workload.model() is own
    assert list(own.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert {name: p.stride() for name, p in own.named_parameters()} == strides
    assert all(torch.equal(a, b) for a, b in zip(draft.workload.inputs["all"], inputs, strict=True))


def test_a_missing_package_is_an_outcome_with_a_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setattr(f"strop.engines.{name}.installed", lambda *packages: False)
        done = prepare(mlp_draft(), Recipe([ModelServingFramework(engine=name)]), HOST, tmp_path / name)
        assert (done.outcome, done.engine) == (Outcome.LACKS_DEPENDENCY, name)
        extra = done.reason.partition("pip install 'strop[")[2].partition("]'")[0]
        assert extra in offered and any(need.startswith(name) for need in offered[extra]), done.reason


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PrepareError("layer 3 cannot be folded"), Outcome.FAILED),
        (MissingExtraError("this", "hf"), Outcome.LACKS_DEPENDENCY),
    ],
)
@pytest.mark.parametrize("moment", [Moment.DATA, Moment.LOWER])
def test_an_error_on_purpose_is_an_outcome_with_its_words(
    error: Exception, outcome: Outcome, moment: Moment, tmp_path: Path
) -> None:
    done = prepare(mlp_draft(), Recipe([planted(91, "failing", moment, act=fail_with(error))]), HOST, tmp_path / "artefact")
    assert done == Preparation(outcome=outcome, reason=str(error), engine="eager")
    assert not (tmp_path / "artefact").exists()


def test_a_model_that_an_engine_cannot_lower_failed_to_prepare(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum().item() > 0 else x - 1

    draft = mlp_draft()
    draft.model = Branching()
    done = prepare(draft, Recipe([SERVE]), HOST, tmp_path)
    assert (done.outcome, done.engine) == (Outcome.FAILED, "onnxruntime")
    assert "torch.export cannot capture Branching" in done.reason


class Failing(nn.Module):
    """A model with a layer to fuse, that fails when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("planted in the model")


@pytest.mark.parametrize("error", [RuntimeError("planted"), MemoryError(), KeyboardInterrupt()], ids=repr)
def test_what_is_out_of_our_hands_leaves_as_it_is_and_the_process_as_it_was(error: BaseException, tmp_path: Path) -> None:
    before = state()
    with pytest.raises(type(error)):
        prepare(mlp_draft(), Recipe([planted(91, "failing", Moment.FREEZE, act=fail_with(error))]), HOST, tmp_path)
    assert state() == before


@pytest.mark.parametrize(
    "recipe",
    [Recipe([AmpOptimizer()]), Recipe([SERVE]), Recipe([ModelServingFramework(engine="openvino")]), Recipe([KernelFusion()])],
    ids=str,
)
def test_a_model_that_fails_while_it_is_prepared_leaves_the_process_as_it_was(recipe: Recipe, int8: Done, tmp_path: Path) -> None:
    draft = mlp_draft()
    draft.model = Failing()
    before = state()
    try:
        done = prepare(draft, recipe, HOST, tmp_path / "failing")
        assert done.outcome is Outcome.FAILED and "planted in the model" in done.reason
    except RuntimeError as error:
        assert "planted in the model" in str(error)
    assert state() == before


def test_preparing_leaves_the_process_as_it_was(int8: Done, tmp_path: Path) -> None:
    draft = attention_draft()  # imports of back ends may change the process once, and ``int8`` has made them
    before = state()
    assert prepare(draft, int8.recipe, HOST, tmp_path).outcome is Outcome.PREPARED
    assert state() == before


def test_an_outcome_survives_json(int8: Done) -> None:
    done = int8.preparation
    assert Preparation.from_json(json.loads(json.dumps(done.to_json()))) == done
    declined = Preparation(outcome=Outcome.DECLINED, reason="größe: 例")
    assert Preparation.from_json(json.loads(json.dumps(declined.to_json()))) == declined
    with pytest.raises(ValueError, match="finished"):
        Preparation.from_json({**done.to_json(), "outcome": "finished"})


# shared graphs -----------------------------------------------------------------------------------------------------


def test_recipes_that_differ_in_intents_share_one_graph_and_the_second_needs_no_model(int8: Done, tmp_path: Path) -> None:
    def place(engine: str) -> Path:
        return tmp_path / "graphs" / engine

    first = prepare(mlp_draft(), Recipe([SERVE]), HOST, tmp_path / "float", place)
    assert first.outcome is Outcome.PREPARED and place("onnxruntime").is_dir()
    written = (place("onnxruntime") / "model.onnx").read_bytes()

    second = mlp_draft()
    second.model = lambda: pytest.fail("the model was built although its graph is there")
    done = prepare(second, Recipe([SERVE, StaticQuantization()]), HOST, tmp_path / "int8", place)
    assert done.outcome is Outcome.PREPARED and done.tallies["static_quantization"] == {"int8 Gemm": 2}
    assert (place("onnxruntime") / "model.onnx").read_bytes() == written, "quantising changes a copy"
    assert (tmp_path / "int8" / "model.onnx").read_bytes() != written

    assert int8.preparation == done, "sharing changes nothing in what comes out"
    assert (int8.folder / "model.onnx").read_bytes() == (tmp_path / "int8" / "model.onnx").read_bytes()


def test_what_an_engine_changes_by_itself_is_told_whoever_converted_the_graph(tmp_path: Path) -> None:
    class LastStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.second(torch.relu(self.first(x)))[:, -1]
            return out

    for place in ("first", "second"):
        draft = mlp_draft()
        draft.model = LastStep()
        steps = [torch.randn(2, 7, 16)]
        draft.examples, draft.signature = steps, infer_signature(steps, [draft.model(steps[0])])
        done = prepare(draft, Recipe([SERVE]), HOST, tmp_path / place, lambda engine: tmp_path / "graphs" / engine)
        assert done.tallies == {SERVE.name: {"model lowered to onnxruntime": 1, "operators cut to what is read": 3}}
        assert [path.name for path in (tmp_path / place).iterdir() if path.name == "changed.json"] == []


def test_an_engine_that_converts_nothing_is_not_asked_for_a_graph(tmp_path: Path) -> None:
    done = prepare(mlp_draft(), Recipe(), HOST, tmp_path, lambda engine: pytest.fail(f"{engine} was given a graph"))
    assert done.outcome is Outcome.PREPARED


def test_a_conversion_that_fails_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    draft = mlp_draft()
    draft.model = Failing()
    graphs = tmp_path / "graphs"
    done = prepare(draft, Recipe([SERVE]), HOST, tmp_path / "artefact", lambda engine: graphs / engine)
    assert done.outcome is Outcome.FAILED
    assert list(graphs.iterdir()) == []


def test_recipes_that_train_alike_train_once_and_share_weights_and_tallies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, fitted = deep_draft(), deep_draft(), tmp_path / "fitted"
    one = prepare(first, Recipe([KnowledgeDistillation()]), HOST, tmp_path / "1", fitted=fitted)
    monkeypatch.setattr("strop.pipeline._fit", lambda *_: pytest.fail("it trained again"))
    two = prepare(second, Recipe([KnowledgeDistillation(), SERVE]), HOST, tmp_path / "2", fitted=fitted)
    assert one.outcome is two.outcome is Outcome.PREPARED
    assert one.tallies["knowledge_distillation"] == two.tallies["knowledge_distillation"]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


def test_a_training_that_fails_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    draft = deep_draft(parts={"student": lambda: Deep(classes=5)})
    done = prepare(draft, Recipe([KnowledgeDistillation()]), HOST, tmp_path / "artefact", fitted=tmp_path / "cache" / "fitted")
    assert done.outcome is Outcome.FAILED and "the same classes" in done.reason
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_who_did_not_come_to_train_takes_no_part_in_the_training_of_an_inference_workload(tmp_path: Path) -> None:
    def weights(recipe: Recipe) -> list[torch.Tensor]:
        draft = deep_draft()
        done = prepare(draft, recipe, HOST, tmp_path)
        assert done.outcome is Outcome.PREPARED, done.reason
        return list(draft.model.state_dict().values())

    alone, beside = weights(Recipe([KnowledgeDistillation()])), weights(Recipe([KnowledgeDistillation(), AmpOptimizer()]))
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))


def test_the_key_of_a_training_changes_with_what_acts_in_it_and_not_with_what_follows() -> None:
    base = fit_key(Recipe([KnowledgeDistillation()]), ORIGIN)
    after = Recipe([KnowledgeDistillation(), StaticQuantization(), MemoryLayout(), SERVE])
    assert fit_key(after, ORIGIN) == base
    assert fit_key(Recipe([KnowledgeDistillation(), AmpOptimizer()]), ORIGIN) == base, "18 casts trainings of its own only"
    assert fit_key(Recipe([KnowledgeDistillation(epochs=4)]), ORIGIN) != base
    assert fit_key(Recipe([KnowledgeDistillation()]), {**ORIGIN, "seed": 99}) != base
    assert base not in (artefact_key(after, ORIGIN), graph_key(after, "onnxruntime", ORIGIN))


# keys --------------------------------------------------------------------------------------------------------------

ORIGIN: dict[str, Any] = {
    "workload": "digest of the file",
    "data": "digest of the inputs",
    "isa": ["avx2", "avx512f"],
    "cores": 2,
    "python": "3.11.7",
    "versions": {"torch": "2.13.0", "openvino": "2026.0"},
    "seed": 0,
}
FULL = Recipe([SERVE, StaticQuantization(), KernelFusion(rules=FOLD)])


@pytest.mark.parametrize(
    "changed",
    [
        {"workload": "another digest"},
        {"data": "another digest"},
        {"isa": ["avx2"]},
        {"cores": 4},
        {"python": "3.12.0"},
        {"versions": {"torch": "2.13.1", "openvino": "2026.0"}},
        {"versions": {"torch": "2.13.0"}},
        {"seed": 1},
    ],
    ids=str,
)
def test_keys_change_with_everything_that_an_artefact_comes_from(changed: dict[str, Any]) -> None:
    origin = {**ORIGIN, **changed}
    assert artefact_key(FULL, origin) != artefact_key(FULL, ORIGIN)
    assert artefact_key(Recipe(), origin) != artefact_key(Recipe(), ORIGIN)
    assert graph_key(FULL, "onnxruntime", origin) != graph_key(FULL, "onnxruntime", ORIGIN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FULL, Recipe([KernelFusion(rules=FOLD), StaticQuantization(smooth=None), ModelServingFramework(engine="onnxruntime")])),
        (Recipe([ModelServingFramework()]), Recipe([ModelServingFramework(buckets=4, streams=2)])),
        (Recipe([MemoryLayout()]), Recipe([MemoryLayout(threads=1, pin=True)])),
        (Recipe([KernelFusion()]), Recipe([KernelFusion(), planted(91, "at_opening", Moment.ENGINE)])),
    ],
    ids=["order and spelled-out defaults", "options of opening", "threads and binding", "who acts at opening only"],
)
def test_keys_do_not_change_otherwise(one: Recipe, other: Recipe) -> None:
    assert artefact_key(one, ORIGIN) == artefact_key(other, dict(reversed(ORIGIN.items())))
    assert graph_key(one, "openvino", ORIGIN) == graph_key(other, "openvino", dict(reversed(ORIGIN.items())))


def test_settings_that_change_the_artefact_change_its_key() -> None:
    recipes = [
        Recipe(),
        FULL,
        FULL.without(31),
        FULL.without(29),
        FULL.with_(ModelServingFramework(engine="openvino")),
        FULL.with_(StaticQuantization(symmetric=True)),
        FULL.with_(StaticQuantization(keep_float=("a",))),
        FULL.with_(StaticQuantization(keep_float=("a", "b"))),
        FULL.with_(KernelFusion(rules=FOLD, threshold=7)),
    ]
    keys = [artefact_key(recipe, ORIGIN) for recipe in recipes]
    assert len(set(keys)) == len(keys)


def test_the_key_of_a_graph_changes_with_the_model_and_the_engine_and_not_with_intents() -> None:
    base = graph_key(FULL, "onnxruntime", ORIGIN)
    assert graph_key(Recipe([*FULL, planted(91, "schedule", Moment.OPTIMIZE)]), "onnxruntime", ORIGIN) == base
    for intents in (FULL.without(29), FULL.with_(StaticQuantization(symmetric=True)), FULL.without(29, 47)):
        assert graph_key(intents, "onnxruntime", ORIGIN) == base
    others = [FULL.without(31), FULL.with_(KernelFusion(rules=FOLD, threshold=7)), Recipe([MemoryLayout(channels_last=True)])]
    keys = [base, graph_key(FULL, "openvino", ORIGIN), *(graph_key(other, "onnxruntime", ORIGIN) for other in others)]
    assert len(set(keys)) == len(keys)


PLUGIN = """
from dataclasses import dataclass
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Instruction
from strop.contract.ties import ties

@dataclass(frozen=True, kw_only=True)
class Mine(Instruction):
    card = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)

    def ties(self):
        return ties()

    def at_freeze(self, draft, tally):
        tally.add("mine", 1)
"""


def test_an_instruction_whose_code_was_edited_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(text: str) -> Recipe:
        (tmp_path / "i91_mine.py").write_text(text, encoding="utf-8")
        linecache.clearcache()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            monkeypatch.delitem(sys.modules, "i91_mine", raising=False)
            return Recipe([__import__("i91_mine").Mine()])
        finally:
            sys.dont_write_bytecode = before

    monkeypatch.syspath_prepend(tmp_path)
    first = artefact_key(load(PLUGIN), ORIGIN)
    assert artefact_key(load(PLUGIN), ORIGIN) == first
    assert artefact_key(load(PLUGIN.replace('"mine", 1', '"mine", 2')), ORIGIN) != first
    helped = PLUGIN.replace('"mine", 1', '"mine", count()') + "\nCOUNT = 1\n\ndef count():\n    return COUNT\n"
    helpers = [helped, helped.replace("COUNT = 1", "COUNT = 2"), helped.replace("return COUNT", "return 1 + COUNT")]
    assert len({first, *(artefact_key(load(text), ORIGIN) for text in helpers)}) == 4, "constants and helpers of the file act too"


def test_an_instruction_without_a_file_counts_with_the_source_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one from a zip archive or a notebook does."""

    def load(text: str) -> Recipe:
        module = types.ModuleType("i91_mine")
        module.__file__ = "<i91_mine>"
        monkeypatch.setitem(sys.modules, "i91_mine", module)
        monkeypatch.setitem(linecache.cache, "<i91_mine>", (len(text), None, text.splitlines(keepends=True), "<i91_mine>"))
        exec(compile(text, "<i91_mine>", "exec"), module.__dict__)
        return Recipe([module.Mine()])

    first = artefact_key(load(PLUGIN), ORIGIN)
    assert artefact_key(load(PLUGIN), ORIGIN) == first
    assert artefact_key(load(PLUGIN.replace('"mine", 1', '"mine", 2')), ORIGIN) != first


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "import json, sys\n"
        "from strop.catalogue import recipe_from_json\n"
        "from strop.pipeline import artefact_key, graph_key\n"
        "recipe, origin = json.loads(sys.argv[1])\n"
        "recipe = recipe_from_json(recipe)\n"
        "print(artefact_key(recipe, origin), graph_key(recipe, 'onnxruntime', origin))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([FULL.to_json(), ORIGIN])],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    assert done.stdout.split() == [artefact_key(FULL, ORIGIN), graph_key(FULL, "onnxruntime", ORIGIN)]


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_what_trains_within_an_inference_workload_trains_where_it_answers(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("strop.pipeline._fit", lambda draft, run, device: asked.append(device))
    done = prepare_until_fitted(deep_draft(device=device))
    assert asked == [device] and set(done) == {"knowledge_distillation"}


def prepare_until_fitted(draft: Draft) -> Any:
    from strop.pipeline import _fitted

    return _fitted(draft, walk(draft, Recipe([KnowledgeDistillation()]), Moment.LOOP), None)
