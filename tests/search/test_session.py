"""What a run shares: fresh baselines, what confirming is thought to need, and the odds of a claim about quality."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from strop.contract.draft import Facts
from strop.contract.recipe import Recipe
from strop.instructions.inference.i34_knowledge_distillation import KnowledgeDistillation
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.measure.bootstrap import judge_corpus
from strop.measure.collect import PointProfile
from strop.measure.quality import Guard, QualityResult, judge_scores
from strop.measure.result import Verdict
from strop.observe import Event
from strop.search.budget import CLOSING, CONFIRM_SHARE, Budget
from strop.search.request import Request
from strop.search.run import BASELINE_USES, LEAST_ROUNDS, ROUNDS
from strop.search.session import FALLBACK_SHARE, FIT_PACE, PREPARE_TIMEOUT, Session
from tests.search.conftest import HOST, compared

LIMIT = 1000.0


class Parts:
    """What a session is put together from: a bench that counts, a workshop that listens, a clock that is set by hand."""

    def __init__(self, screening: int = 400, confirming: int = 1000, unjudged: str = "") -> None:
        self.now, self.events, self.living, self.timeouts = 0.0, list[Event](), list[Any](), list[float]()
        splits = {"screening": SimpleNamespace(inputs=range(screening)), "confirming": SimpleNamespace(inputs=range(confirming))}
        self.workload = SimpleNamespace(splits=splits, quality=SimpleNamespace(unjudged=unjudged))
        self.examiner = SimpleNamespace(pace={})

    def seat(self, prepared: Any, name: str) -> Any:
        self.living.append(
            SimpleNamespace(
                name=name,
                uses=0,
                seconds=6.0,
                profile={"p": PointProfile(call_seconds=0.02, discards=0)},
                arm=SimpleNamespace(ended=False),
            )
        )
        return self.living[-1]

    def dismiss(self, seat: Any) -> None:
        self.living.remove(seat)

    def prepare(self, recipes: Any, timeout: float) -> list[Any]:
        self.timeouts.append(timeout)
        return list(recipes)

    def session(self) -> Session:
        any_: Any = SimpleNamespace()
        parts: Any = self
        return Session(
            request=Request(budget=LIMIT),
            ledger=any_,
            observer=self.events.append,
            workload=parts.workload,
            materials=any_,
            workshop=parts,
            bench=parts,
            examiner=parts.examiner,
            host=HOST,
            budget=Budget(LIMIT, lambda: self.now),
            baseline=any_,
        )


def test_an_original_that_died_is_replaced() -> None:
    parts = Parts()
    session = parts.session()
    first: Any = session.original()
    first.arm.ended = True
    second = session.original()
    assert second is not first and parts.living == [second]


def test_the_original_is_started_when_needed_and_replaced_after_it_has_served() -> None:
    parts = Parts()
    session = parts.session()
    assert parts.living == []
    first = session.original()
    assert session.original() is first and parts.living == [first]
    first.uses = BASELINE_USES
    second = session.original()
    assert second is not first and parts.living == [second], "the old process has ended"


@pytest.mark.parametrize(
    ("now", "keep", "seconds"),
    [
        (0.0, None, PREPARE_TIMEOUT),
        (LIMIT - CLOSING - 300.0, None, 50.0),
        (LIMIT - CLOSING - 300.0, 280.0, 20.0),
        (LIMIT - CLOSING - 100.0, None, 1.0),
    ],
    ids=["enough", "beside the reserve", "beside what is named", "none left"],
)
def test_preparing_gets_what_the_reserve_leaves(now: float, keep: float | None, seconds: float) -> None:
    parts = Parts()
    session = parts.session()
    session.reserved, parts.now = 250.0, now
    assert session.prepare([Recipe()], keep=keep) == [Recipe()]
    assert parts.timeouts == [pytest.approx(seconds)]


def test_the_reserve_is_rounds_and_answers_and_something_for_a_second_claim() -> None:
    parts = Parts()
    session = parts.session()
    session.expect_confirm(candidate_start=2.0, pair=1.5, pairs=8, faster=4.0)
    assert session.round_seconds == 6.0 + 2.0 + 8 * 1.5
    answers = 1000 * 0.02 * (1 + 1 / 4)
    assert session.reserved == max(CONFIRM_SHARE * LIMIT, ROUNDS * session.round_seconds + answers + 8.0 + FALLBACK_SHARE * LIMIT)
    assert session.reserved == CONFIRM_SHARE * LIMIT, "a quarter, however little confirming takes"

    parts.examiner.pace["original"] = 0.5
    session.expect_confirm(candidate_start=2.0, pair=1.5, pairs=8, faster=4.0)
    beside = 1000 * 0.5 * 1.25 + 8.0 + FALLBACK_SHARE * LIMIT
    assert session.reserved == ROUNDS * session.round_seconds + beside, "the pace that was seen"
    assert session.reserve(LEAST_ROUNDS) == LEAST_ROUNDS * session.round_seconds + beside


def test_answers_that_nobody_judges_need_no_time() -> None:
    judged, unjudged = (Parts(confirming=100_000, unjudged=word).session() for word in ("", "speed only"))
    for session in (judged, unjudged):
        session.expect_confirm(candidate_start=2.0, pair=1.0, pairs=8, faster=2.0)
    assert judged.reserved == pytest.approx(ROUNDS * unjudged.round_seconds + 100_000 * 0.02 * 1.5 + 8.0 + FALLBACK_SHARE * LIMIT)
    assert unjudged.reserved == CONFIRM_SHARE * LIMIT


def test_a_claim_is_sized_by_its_screening_and_starts_as_its_candidate_did() -> None:
    parts = Parts()
    session = parts.session()
    candidate = parts.seat(None, "candidate")
    candidate.seconds = 100.0
    session.expect_claim(candidate, compared(1.0, Verdict.FASTER))
    clear = session.round_seconds
    session.expect_claim(candidate, compared(0.03, Verdict.FASTER))
    assert 6.0 + 100.0 < clear < session.round_seconds, "a small gain needs more pairs"


def test_searching_stops_when_only_the_reserve_is_left() -> None:
    parts = Parts()
    session = parts.session()
    session.reserved = 250.0
    parts.now = LIMIT - CLOSING - 250.1
    assert not session.out_of_time()
    parts.now += 0.1
    assert session.out_of_time()


def screened(n: int, lost: int, won: int, margin: float = 0.01) -> QualityResult:
    ours, theirs = np.ones(n), np.ones(n)
    theirs[:lost] = 0
    ours[lost : lost + won] = 0
    return judge_scores(ours, theirs, metric="accuracy", margin=margin, alpha=0.05)


def test_the_chance_grows_with_the_data_and_the_margin_and_falls_with_the_loss() -> None:
    session = Parts(screening=1000, confirming=4000).session()
    chances = [session.chance_to_confirm(screened(1000, lost, 0), 0.05) for lost in (0, 4, 8, 12, 40)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.9 and chances[-1] < 0.05
    wide = [session.chance_to_confirm(screened(1000, 8, 0, margin), 0.05) for margin in (0.005, 0.01, 0.03)]
    assert wide == sorted(wide)
    assert session.chance_to_confirm(screened(1000, 4, 0), 0.01) < session.chance_to_confirm(screened(1000, 4, 0), 0.05)
    small = Parts(screening=1000, confirming=300).session()
    assert small.chance_to_confirm(screened(1000, 0, 0), 0.05) < chances[0]


@pytest.mark.parametrize(("loss", "margin", "chance"), [(0.0, 0.01, 1.0), (0.02, 0.01, 0.0), (0.0, 0.0, 0.0)])
def test_where_all_examples_agree_the_chance_is_all_or_nothing(loss: float, margin: float, chance: float) -> None:
    """As scores other than right and wrong do where a recipe changes no answer at all."""
    ours = np.full(200, 0.75)
    alike = [
        judge_scores(ours, ours - loss, metric="overlap", margin=margin, alpha=0.05),
        judge_corpus(lambda chosen: (0.75, 0.75 - loss), 200, metric="AUC", margin=margin, alpha=0.05),
    ]
    session = Parts().session()
    assert [session.chance_to_confirm(screened, 0.05) for screened in alike] == [chance, chance]


def test_the_chance_is_how_often_the_guard_holds_when_losses_are_as_believed() -> None:
    """Losses are drawn from the prior, screened, and confirmed by the real guard; where 30 to 70 % are promised, so many hold."""
    session, generator = Parts(screening=1000, confirming=3000).session(), np.random.default_rng(0)
    promised: list[float] = []
    held: list[bool] = []
    for loss in generator.normal(0, 0.005, 1500):
        lost, won = 0.01 + loss / 2, 0.01 - loss / 2
        chance = session.chance_to_confirm(screened(1000, *generator.binomial(1000, [lost, won])), 0.05)
        if 0.3 <= chance <= 0.7:
            promised.append(chance)
            held.append(screened(3000, *generator.binomial(3000, [lost, won])).guard is Guard.HELD)
    assert len(held) > 200
    assert np.mean(held) == pytest.approx(np.mean(promised), abs=0.1)


def test_without_data_nothing_can_be_confirmed() -> None:
    parts = Parts()
    del parts.workload.splits["confirming"]
    assert parts.session().chance_to_confirm(screened(100, 0, 0), 0.05) == 0.0


def test_evaluation_data_that_cannot_decide_is_told_with_how_much_would() -> None:
    few = Parts(screening=500, confirming=600).session()
    said = few.too_few(screened(500, 5, 5))  # 2 % differ: (1.645 + 0.842)^2 * 0.02 / 0.01^2
    assert said is not None and said.startswith("about 1237 examples in the confirming split") and "and 600 are there" in said
    assert few.too_few(screened(500, 5, 5, margin=0.03)) is None
    assert few.too_few(screened(500, 60, 0)) is None, "what loses for certain is not a question of examples"
    assert Parts(screening=500, confirming=1300).session().too_few(screened(500, 5, 5)) is None
    parts = Parts()
    del parts.workload.splits["confirming"]
    assert parts.session().too_few(screened(100, 1, 1)) is None


def test_a_trial_is_told_once() -> None:
    parts = Parts()
    session = parts.session()
    row = {"against": "a", "key": "k", "text": "18 amp", "status": "faster", "reason": ""}
    judged = {**row, "screen": {"comparisons": {"all": compared(0.5, Verdict.FASTER).to_json()}}}
    for told in (judged, judged, {**row, "against": "b", "screen": None, "status": "declined"}):
        session.tell_trial(told)
    assert [event.text for event in parts.events] == ["18 amp: faster", "18 amp: declined"]
    assert [bool(event.data["row"]["speedup"]) for event in parts.events] == [True, False]


def test_a_training_takes_what_the_originals_best_pace_and_the_passes_make_of_the_split() -> None:
    parts: Any = Parts()
    session = parts.session()
    slow, quick = (PointProfile(call_seconds=seconds, discards=0) for seconds in (0.01, 0.08))
    parts.seat = lambda prepared, name: SimpleNamespace(profile={"slow": slow, "quick": quick}, uses=0)
    parts.fitted = lambda recipe: len(recipe) > 1
    facts = Facts(points={"slow": 4, "quick": 2}, elements={"slow": 4 * 10, "quick": 2 * 400, "training": 5000}, depth=4)
    session.materials = SimpleNamespace(facts=facts)
    student = KnowledgeDistillation()
    wanted = FIT_PACE * 0.08 / 400 * 5000 * student.passes(facts, HOST)
    assert session.fit_seconds(Recipe([student])) == pytest.approx(wanted)
    assert session.fit_seconds(Recipe([student, MemoryLayout()])) == 0.0, "it was trained already"
    assert session.fit_seconds(Recipe([MemoryLayout()])) == 0.0, "it trains nothing"


def test_what_trains_is_prepared_within_what_the_budget_leaves() -> None:
    parts = Parts()
    session = parts.session()
    session.reserved = 100.0
    session.prepare([Recipe([KnowledgeDistillation()])])
    assert parts.timeouts == [LIMIT - CLOSING - 100.0] and parts.timeouts[0] > PREPARE_TIMEOUT
