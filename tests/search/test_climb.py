"""What is tried, in which order, and what comes out, where the truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strop.contract.draft import Facts
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.errors import MeasureError
from strop.measure.quality import QualityResult, judge_scores
from strop.pipeline import Outcome
from strop.search import climb as module
from strop.search.budget import CLOSING
from strop.search.climb import NO_PROMISE, Standing, climb
from strop.search.kinds import BARE_PART
from strop.search.proposals import Proposal

PARTS = {29: 1.2, 28: 1.0, 47: 0.8, 18: 0.3, 35: 0.4, 31: 0.1, 34: 0.5, 38: 0.02}


def truth(recipe: Recipe) -> float:
    """Gains of the parts add up; with openvino, buckets and regrouping help on top, and the latter needs the former."""
    gain = sum(PARTS[i.number] for i in recipe)
    for instruction in recipe:
        if getattr(instruction, "engine", "") == "onnxruntime":
            return gain - 0.5 * bool(instruction.buckets)
        gain += 0.3 * bool(getattr(instruction, "buckets", 0)) + 0.2 * bool(getattr(instruction, "trim", False))
    return gain


def settings(recipe: Recipe) -> dict[str, Any]:
    return recipe.to_json()


def led(standing: Standing) -> Recipe:
    assert standing.leader is not None
    return standing.leader.recipe


def test_the_best_composition_is_reached_by_way_of_a_setting_that_only_enables(world: Any) -> None:
    planted = world(truth)
    standing = climb(planted.session(), {})
    best = settings(led(standing))
    assert best["model_serving_framework"] == {"buckets": 3, "trim": True}
    assert "static_quantization" in best
    assert standing.leader.gain == pytest.approx(truth(led(standing))), "gains multiply up along the way"
    assert planted.alive == 0, "no arm is left alive"


def test_evaluation_data_that_is_too_small_is_told_once(world: Any) -> None:
    planted, told = world(truth, quality=judged()), []
    session = planted.session()
    session.chance_to_confirm = lambda quality, alpha: 1.0
    session.too_few = lambda quality: f"{quality.needed_n} would decide"
    session.tell = lambda name, text="", **data: told.append((name, text))
    standing = climb(session, {})
    assert len(standing.trials) > 3
    assert [text for name, text in told if name == "warning"] == [f"{judged().needed_n} would decide"]


def judged() -> QualityResult:
    before, after = np.ones(100), np.ones(100)
    after[:3] = 0
    return judge_scores(before, after, margin=0.01, metric="accuracy")


def test_additions_are_tried_against_the_stack_and_groups_against_the_original(world: Any) -> None:
    planted = world(truth)
    climb(planted.session(), {})
    against = {original for original, _ in planted.tried}
    assert "baseline" in against and len(against) > 1
    assert against - {"baseline"} <= {added for _, added in planted.tried}, "every stack was itself tried before"
    assert len(set(planted.tried)) == len(planted.tried), "nothing is tried twice"


def test_the_reserve_is_not_touched_and_what_was_left_out_is_named(world: Any) -> None:
    planted = world(truth, limit=160.0, reserved=100.0)
    standing = climb(planted.session(), {})
    assert planted.now <= 160.0 - 100.0
    assert standing.trials and standing.untried


def test_without_time_nothing_is_tried(world: Any) -> None:
    planted = world(truth, limit=110.0, reserved=100.0)
    standing = climb(planted.session(), {})
    assert standing.leader is None and not standing.trials and standing.untried and planted.now == 0.0


def test_where_nothing_pays_nothing_leads(world: Any) -> None:
    standing = climb(world(lambda recipe: -0.1 * len(recipe)).session(), {})
    assert standing.leader is None and len(standing.trials) > 5 and standing.untried == {}


def test_what_the_diagnosis_does_not_suggest_is_tried_last_where_nothing_pays(world: Any) -> None:
    planted = world(lambda recipe: -0.1 * len(recipe))
    climb(planted.session(), {35: 0.5})
    alone = planted.tried.index(("baseline", "35 graph_compile"))
    assert all("35" not in tried for _, tried in planted.tried[:alone])
    assert any("35" not in tried for _, tried in planted.tried[:alone])


def test_what_the_diagnosis_does_not_suggest_is_named_where_something_pays(world: Any) -> None:
    planted = world(truth)
    standing = climb(planted.session(), {35: 0.5})
    assert ("baseline", "35 graph_compile") not in planted.tried
    assert standing.untried["35 graph_compile"] == NO_PROMISE


def test_predictions_decide_what_comes_first(world: Any) -> None:
    planted = world(truth, limit=150.0, reserved=100.0)
    climb(planted.session(), {35: 9.0, 29: 1.1, 28: 1.1, 47: 1.1, 18: 1.1})
    assert planted.tried[0] == ("baseline", "35 graph_compile")


def test_once_something_is_fast_what_promises_less_waits_behind_additions(world: Any) -> None:
    planted = world(truth)
    climb(planted.session(), {29: 8.0, 47: 4.0})
    order = [added for _, added in planted.tried]
    assert order[0] == "29 static_quantization + 47 model_serving_framework"
    assert "35 graph_compile" not in order[: order.index("29 static_quantization + 47 model_serving_framework(buckets=3)")]


def test_two_recipes_are_prepared_at_a_time_and_none_twice(world: Any) -> None:
    planted = world(truth)
    climb(planted.session(), {})
    assert len(planted.prepared) == len(set(planted.prepared))
    serial = len(planted.prepared) * planted.prepare_seconds + len(planted.tried) * planted.trial_seconds
    assert planted.now < serial, "preparing side by side took less time than one after the other"


def test_a_quantised_recipe_that_loses_quality_gets_operators_back_until_it_holds(world: Any) -> None:
    def kept(recipe: Recipe) -> int:
        return max((len(getattr(i, "keep_float", ())) for i in recipe), default=0)

    planted = world(
        lambda recipe: truth(recipe) - 0.01 * kept(recipe),
        status=lambda recipe: "faster" if kept(recipe) >= 5 or 29 not in {i.number for i in recipe} else "worse quality",
        sensitivity={f"op{n:02d}": 1.0 / (n + 1) for n in range(20)},
    )
    found = settings(led(climb(planted.session(), {29: 8.0, 47: 2.0})))
    handed_back = found["static_quantization"]["keep_float"]
    assert 5 <= len(handed_back) <= 6, "as few as the next share allows"
    assert handed_back == [f"op{n:02d}" for n in range(len(handed_back))], "the most sensitive first"


def test_failures_of_preparing_are_results_and_the_climb_goes_on(world: Any) -> None:
    planted = world(truth, outcome=lambda r: Outcome.FAILED if 29 in {i.number for i in r} else Outcome.PREPARED)
    standing = climb(planted.session(), {29: 8.0})
    assert "failed to prepare" in {trial.status for trial in standing.trials}
    assert 29 not in {i.number for i in led(standing)}


def test_a_resumed_climb_repeats_nothing_and_ends_where_an_uninterrupted_one_does(world: Any) -> None:
    whole = world(truth)
    wanted = led(climb(whole.session(), {}))
    cut = world(truth, limit=180.0, reserved=100.0)
    climb(cut.session(), {})
    half = list(cut.tried)
    cut.limit, cut.prepared = 10_000.0, []
    assert led(climb(cut.session(), {})) == wanted
    assert cut.tried[: len(half)] == half and len(set(cut.tried)) == len(cut.tried)


def test_a_resumed_climb_without_time_still_knows_its_leader(world: Any) -> None:
    planted = world(lambda recipe: truth(recipe) + 1e-3 * len(str(recipe)), limit=180.0, reserved=100.0)  # no two are alike
    before = led(climb(planted.session(), {}))
    planted.now = 170.0
    assert led(climb(planted.session(), {})) == before


def test_only_what_was_asked_for_is_tried(world: Any) -> None:
    planted = world(truth)
    standing = climb(planted.session(only=(35,)), {})
    assert {t.row["text"].partition("(")[0] for t in standing.trials} == {"35 graph_compile"}
    assert math.isclose(standing.leader.gain, PARTS[35])


@pytest.mark.parametrize("holds", [1.0, 0.3])
def test_a_leader_in_doubt_is_backed_by_another_kind_before_it_is_refined(
    world: Any, holds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "chance", lambda session, trial, alpha: holds if "static" in trial.row["text"] else 1.0)
    planted = world(truth)
    climb(planted.session(), {29: 8.0, 47: 4.0, 18: 1.3, 28: 1.2, 35: 1.2})
    order = [added for _, added in planted.tried]
    backing = order.index("18 amp_optimizer + 47 model_serving_framework") if holds < 1 else len(order)
    refining = next(place for place, name in enumerate(order) if "symmetric" in name)
    assert (backing < refining) == (holds < 1)


@pytest.mark.parametrize(("holds", "backed"), [(1.0, False), (0.3, True)])
def test_the_last_rounds_of_confirming_give_way_to_something_behind_a_doubtful_leader(
    world: Any, holds: float, backed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first trial leaves 105 s, of which the reserve asks 100, or 80 with the least rounds; the next one takes 10."""
    monkeypatch.setattr(module, "chance", lambda session, trial, alpha: holds if "static" in trial.row["text"] else 1.0)
    planted = world(truth, limit=125.0 + CLOSING, reserved=100.0)
    session = planted.session(only=(18, 29, 47))
    climb(session, {29: 8.0, 47: 4.0, 18: 1.3})
    assert planted.tried[0][1].startswith("29 static")
    assert [name.startswith("18 amp") for _, name in planted.tried[1:]] == [True] * backed
    assert session.reserved == 100.0, "what is behind it now is not improved at the rounds' expense"


@pytest.mark.parametrize("holds", [0.3, 1.0])
def test_what_may_stand_in_for_a_doubtful_leader_is_expected_to_gain_what_they_share(
    world: Any, holds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small vision model's: int8 gains far more than was predicted of its parts, and its quality is in doubt."""
    monkeypatch.setattr(module, "chance", lambda session, trial, alpha: holds if "static" in trial.row["text"] else 1.0)
    parts = {29: 0.9, 47: 1.65, 18: 0.45, 35: 0.1}
    planted = world(lambda recipe: sum(parts[i.number] for i in recipe))
    climber = module._Climber(planted.session(only=(18, 29, 35, 47)), {29: 4.0, 47: 1.9, 18: 1.2, 35: 1.1})

    def backing() -> Proposal:
        return next(p for p in climber._proposals() if str(p.recipe) == "18 amp_optimizer + 47 model_serving_framework")

    assert backing().mean == pytest.approx(math.log(1.9) + math.log(1.2))
    while not any(str(s.recipe) == "29 static_quantization + 47 model_serving_framework" for s in climber._standing.stacks):
        climber.attempt(climber.next())  # type: ignore[arg-type]
    if holds == 1.0:
        assert backing().mean == pytest.approx(math.log(1.9) + math.log(1.2)), "nothing need stand in"
        return
    assert backing().mean == pytest.approx(BARE_PART * (0.9 + 1.65) + math.log(1.2))
    assert climber._promising(backing())


def test_more_lossy_instructions_on_a_doubtful_leader_are_no_way_round_its_doubt(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "chance", lambda session, trial, alpha: 0.3 if "static" in trial.row["text"] else 1.0)
    climber = module._Climber(world(truth).session(), {29: 8.0})
    while climber._standing.leader is None:
        climber.attempt(climber.next())  # type: ignore[arg-type]
    assert [climber._chance(frozenset(kinds)) for kinds in ([29], [18, 29], [18], [])] == [0.3, 0.3, 0.5, 1.0]


def test_the_workshop_is_asked_about_a_recipe_once_until_it_has_prepared_more(world: Any) -> None:
    """What it has prepared meanwhile may be the artefact of another recipe, so the answer is not kept beyond."""
    planted = world(truth)
    session, asked = planted.session(), []
    ready, prepare = session.workshop.ready, session.prepare
    session.workshop.ready = lambda recipe: asked.append(recipe.key) or ready(recipe)

    def preparing(recipes: Any) -> Any:
        assert len(asked) == len(set(asked))
        asked.clear()
        return prepare(recipes)

    session.prepare = preparing
    climb(session, {})
    assert len(asked) == len(set(asked))


def test_an_artefact_that_another_recipe_brought_costs_nothing_to_prepare(world: Any) -> None:
    """Every recipe's artefact is there once the first is: from then on, each is prepared alone, in no time."""
    planted = world(lambda recipe: -0.1 * len(recipe))
    session, together = planted.session(), []
    session.workshop.ready = lambda recipe: bool(planted.prepared)
    prepare = session.prepare
    session.prepare = lambda recipes: together.append(len(recipes)) or prepare(recipes)
    climb(session, {})
    assert together[0] == 2 and set(together[1:]) == {1}


TAUGHT = frozenset({Trait.INFERENCE, Trait.TEACHER})


def students(planted: Any) -> list[str]:
    return [added for _, added in planted.tried if "34" in added]


def test_a_student_is_tried_on_the_leader_once_what_costs_less_was_tried(world: Any) -> None:
    planted = world(truth, traits=TAUGHT)
    best = settings(led(climb(planted.session(), {})))
    assert {"knowledge_distillation", "static_quantization", "model_serving_framework"} <= set(best)
    order = [added for _, added in planted.tried]
    assert "29" in order[order.index(students(planted)[0])], "not alone: on top of what was found"
    assert planted.fitted == [list(row) for row in dict.fromkeys(map(tuple, planted.fitted))], "nothing trains twice"


def test_a_student_is_begun_before_small_trials_have_used_up_its_time(world: Any) -> None:
    """Beside 29 on the openings alone it asks as much as a dozen of additions, each of which promises more per second."""
    planted = world(truth, traits=TAUGHT, limit=360.0, reserved=100.0, fitting=130.0)
    best = settings(led(climb(planted.session(), {29: 4.0})))
    assert len(planted.fitted) == 1 and "knowledge_distillation" in best
    assert len(planted.tried) > len(students(planted)), "what pays more per second came before it"


def test_additions_that_give_little_make_the_next_ones_promise_less(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One group pays and every addition takes it all away: fewer of them are worth a trial than where nothing is learned."""

    def tried() -> int:
        alone = world(lambda recipe: 1.2 * (str(recipe) == "29 static_quantization + 47 model_serving_framework"))
        climb(alone.session(), {29: 4.0})
        return len(alone.tried)

    learned = tried()
    monkeypatch.setattr(module, "SURPRISE_PRIOR", 1e9)
    assert learned < tried()


def test_what_an_addition_gave_on_one_stack_is_expected_of_it_on_the_next(world: Any) -> None:
    climber, compared = module._Climber(world(truth).session(), {29: 8.0}), 0
    while (chosen := climber.next()) is not None:
        climber.attempt(chosen)
        for addition in filter(lambda p: p.against, climber._proposals()):
            stack, gave = climber._stack(addition.against), climber._gave.get(climber._change(addition))
            if gave is not None:
                assert stack is not None and addition.mean == pytest.approx(stack.gain + gave)
                compared += 1
    assert compared > 0


def test_without_a_teacher_no_student_is_proposed(world: Any) -> None:
    planted = world(truth)
    standing = climb(planted.session(), {})
    assert not students(planted) and not any("34" in str(recipe) for recipe in standing.untried)


def test_a_training_gets_half_of_the_budget_at_most(world: Any) -> None:
    enough, short = (
        world(truth, traits=TAUGHT, limit=1000.0, fitting=499.0),
        world(truth, traits=TAUGHT, limit=1000.0, fitting=501.0),
    )
    climb(enough.session(), {})
    standing = climb(short.session(), {})
    assert students(enough) and not students(short)
    assert any("34" in str(recipe) for recipe in standing.untried), "what was left out is named"


def test_a_training_is_prepared_alone_while_others_wait(world: Any) -> None:
    """The planted machine refuses a training beside another recipe."""
    planted = world(truth, traits=TAUGHT, fitting=2.0)
    climb(planted.session(), {34: 900.0})
    assert planted.tried[0][1] == "34 knowledge_distillation"


def test_what_a_training_asks_is_said_before_it_begins(world: Any) -> None:
    planted, told = world(truth, traits=TAUGHT, fitting=70.0, limit=240.0, reserved=20.0), []
    session = planted.session(only=(34,))
    session.tell = lambda name, text="", **data: told.append(text) if name == "fit.started" else None
    climb(session, {})
    assert "training asks about 70 s of the budget of 240 s" in told[0]


def test_the_next_training_is_thought_as_slow_as_the_first_one_was(world: Any) -> None:
    """Three times as long as planned: then a second one, of a third of the layers, would take more than half of the budget."""
    depth = Facts(dynamic=True, points={"batch 1": 4}, depth=6)

    def trained(seconds: float) -> int:
        planted = world(truth, traits=TAUGHT, limit=1000.0, fitting=200.0)
        session, answer = planted.session(facts=depth), planted.answer
        planted.answer = lambda recipe: replace(answer(recipe), seconds=seconds)
        climb(session, {29: 8.0, 47: 4.0})
        return len(planted.fitted)

    assert trained(200.0) > trained(620.0) == 1


def test_a_run_that_has_planned_its_claims_tries_nothing_new(world: Any) -> None:
    """The plan names recipes of the trials on record; a faster one found later would take their place and be in no plan."""
    planted = world(truth, limit=200.0)
    first = climb(planted.session(), {})
    planted.steps["registered/claims"] = []
    tried, planted.limit = list(planted.tried), 10_000.0
    again = climb(planted.session(), {})
    assert planted.tried == tried and led(again) == led(first)
    assert {trial.key for trial in again.trials} == {trial.key for trial in first.trials}
    del planted.steps["registered/claims"]
    climb(planted.session(), {})
    assert len(planted.tried) > len(tried), "before that, time that is found is used"


def climbed(world: Any) -> tuple[Any, Any, list[Any]]:
    """A world, a climber that has found all it can, and its stacks but for the leader."""
    planted = world(truth)
    climber = module._Climber(planted.session(), {})
    while (chosen := climber.next()) is not None:
        climber.attempt(chosen)
    trailing = [stack for stack in climber._standing.stacks if stack is not climber._standing.leader]
    assert len(trailing) > 2
    return planted, climber, trailing


def test_only_the_leader_and_the_stack_in_use_have_living_arms(world: Any) -> None:
    planted, climber, trailing = climbed(world)
    assert planted.alive == 1
    for stack in trailing:
        assert climber._seat(stack) is climber._seat(stack) is stack.seat
        assert planted.alive == 2
    died = trailing[-1].seat
    died.arm.ended = True
    assert climber._seat(trailing[-1]) is not died and planted.alive == 2, "what died is started again"
    climber.finish()
    assert planted.alive == 0


def test_a_stack_that_no_longer_runs_ends_its_additions_and_not_the_search(world: Any) -> None:
    planted, climber, trailing = climbed(world)
    session, told = climber._session, []

    def dying(prepared: Any, name: str) -> Any:
        raise MeasureError("it hung")

    session.tell = lambda name, text="", **data: told.append((name, text))
    session.bench.seat = dying
    addition = next(p for p in climber._steps if p.against == trailing[0].recipe.key and p.recipe.key not in climber._tried)
    climber._prepared[addition.recipe.key] = planted.answer(addition.recipe)
    trials = len(climber._standing.trials)
    climber.attempt(addition)
    assert told == [("warning", f"{trailing[0].recipe} runs no more: it hung")]
    assert len(climber._standing.trials) == trials and addition.recipe.key in climber._tried, "it is not asked again"
