"""``strop.compare``: which way quality points, when it cannot be decided, and what stays on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import strop
from strop.api.compare import Compared, compare
from strop.contract.examples import read_examples, write_examples
from strop.contract.quality import Quality
from strop.contract.recipe import Recipe
from strop.errors import MeasureError, PrepareError, RecipeError, RunDirectoryError, UsageError, WorkloadError, WrongAnswersError
from strop.ledger.files import read_json
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import Guard
from strop.measure.result import Block, Pair, Verdict
from strop.search.bench import Bench
from strop.trial.workshop import Prepared

EXAMPLES = 60
Answer = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def doubled() -> torch.nn.Module:
    """A model of torch's own classes, so that every process can rebuild it."""
    model = torch.nn.Linear(4, 4, bias=False)
    model.weight.data = 2 * torch.eye(4)
    return model


def inputs(count: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 4, generator=generator) for _ in range(count)]


def workload(quality: Quality, count: int = EXAMPLES, **more: Any) -> strop.InferenceWorkload:
    examples, net = inputs(count, 1), doubled()
    return strop.InferenceWorkload(
        model=lambda: net,
        inputs={"one": inputs(4, 2)},
        quality=quality,
        screening=strop.Split(inputs=inputs(count, 3), labels=[0] * count),
        confirming=strop.Split(inputs=examples, labels=[int((x * 2).argmax()) for x in examples], **more),
        name="doubled",
    )


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Arms without processes: what each answers and how long it takes is told by the test."""

    def play(candidate: Answer, *, original: Answer = lambda x: x * 2, faster: float = 2.0) -> None:
        def confirm(
            bench: Bench, name: str, baseline: Prepared, second: Prepared, plan: ConfirmPlan, told: Callable[..., None]
        ) -> list[Pair]:
            def seat(prepared: Prepared, arm: str) -> Any:
                return SimpleNamespace(prepared=prepared, arm=arm)

            told(0, seat(baseline, "baseline"), seat(second, "candidate"))
            return [_pair(i, i // plan.pairs, faster) for i in range(plan.rounds * plan.pairs)]

        def call(bench: Bench, seat: Any, method: str, arguments: Mapping[str, Any], timeout: float) -> None:
            answer = original if seat.arm == "baseline" else candidate
            write_examples(Path(arguments["answers"]), [answer(x) for x in read_examples(Path(arguments["inputs"]))])

        monkeypatch.setattr(Bench, "confirm", confirm)
        monkeypatch.setattr(Bench, "call", call)

    return play


def _pair(index: int, round: int, faster: float) -> Pair:
    times = {"baseline": 1_000_000 + 1000 * (index % 7), "candidate": int((1_000_000 + 900 * (index % 5)) / faster)}
    blocks = tuple(Block(arm=arm, point="one", calls_ns=(ns, ns, ns)) for arm, ns in times.items())
    return Pair(index=index, round=round, candidate_first=False, blocks=blocks)


def judged(quality: Quality, max_drop: str = "5%", count: int = EXAMPLES, **more: Any) -> Compared:
    return compare(workload(quality, count, **more), Recipe(), Recipe(), max_drop=max_drop, rounds=3, pairs=4, out="run")


def error(answer: Any, label: Any) -> float:
    """Distance from one, in the first place: 2 for the original on average, whatever the input."""
    return abs(float(np.asarray(answer).ravel()[0]) - 1.0)


def near(value: float) -> Answer:
    """Answers at ``value``, with a little of the input mixed in so that examples differ."""
    return lambda x: np.full_like(x, value) + np.float32(0.01) * x


SCORES: dict[str, Quality] = {
    "lower": strop.per_example(error, name="error", higher_is_better=False),
    "negative": strop.per_example(lambda a, t: -error(a, t), name="minus error"),
    "negative lower": strop.per_example(lambda a, t: error(a, t) - 10.0, name="error less ten", higher_is_better=False),
    "corpus lower": strop.corpus_metric(
        lambda answers, labels: float(np.mean([error(a, 0) for a in answers])), name="mean error", higher_is_better=False
    ),
    "corpus negative": strop.corpus_metric(
        lambda answers, labels: -float(np.mean([error(a, 0) for a in answers])), name="minus mean error"
    ),
}


@pytest.mark.parametrize("quality", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize(("answers", "guard"), [(3.0, Guard.HELD), (2.0, Guard.HELD), (9.0, Guard.BROKEN)])
def test_quality_is_judged_in_the_direction_of_its_metric(
    quality: Quality, answers: float, guard: Guard, arms: Callable[..., None]
) -> None:
    """The original is 2 away from what is right; nearer is better, farther is worse, in whatever unit it is told."""
    arms(near(answers), original=near(3.0))
    found = judged(quality).quality
    assert found is not None
    assert found.guard is guard
    assert found.higher_is_better is quality.higher_is_better
    assert found.loss == pytest.approx(abs(answers - 1) - 2, abs=0.01)


def test_too_few_examples_are_said_with_the_number_that_would_decide(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    found = judged(strop.accuracy(), "1%").quality
    assert found is not None
    assert found.guard is Guard.UNPROVEN
    assert found.needed_n is not None and 250 < found.needed_n < 400
    assert f"; {found.needed_n} would decide)" in found.describe()
    (finding,) = found.findings
    assert finding.code == "evaluation-too-small"
    assert finding.advice == f"give {found.needed_n} evaluation examples"


def test_the_number_that_was_said_does_decide(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    first = judged(strop.accuracy(), "1%").quality
    assert first is not None
    needed = first.needed_n or 0
    found = compare(workload(strop.accuracy(), needed), Recipe(), Recipe(), max_drop="1%", rounds=3, pairs=4, out="again").quality
    assert found is not None
    assert found.guard is Guard.HELD


@pytest.mark.parametrize(
    "quality",
    [
        strop.per_example(lambda a, t: float("nan"), name="broken"),
        strop.per_example(lambda a, t: -np.inf, name="broken"),
        strop.corpus_metric(lambda a, t: float("nan"), name="broken"),
    ],
    ids=["nan per example", "infinite per example", "nan for all"],
)
def test_a_metric_that_is_nan_for_the_original_is_refused(quality: Quality, arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    with pytest.raises(WorkloadError, match="quality 'broken' gives NaN or infinity for the original model itself"):
        judged(quality)


def test_a_score_function_that_fails_is_told_with_its_input(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    with pytest.raises(WorkloadError, match="quality 'keyed' failed on evaluation input 0"):
        judged(strop.per_example(lambda a, t: a["logits"], name="keyed"))


def picky(answer: Any, label: Any) -> float:
    """A score that was written for the original's answers only."""
    first = float(np.asarray(answer).ravel()[0])
    return float("nan") if first > 100 else 1.0


def crashing(answer: Any, label: Any) -> float:
    assert np.asarray(answer).ravel()[0] < 100, "planted"
    return 1.0


@pytest.mark.parametrize(
    "quality",
    [
        strop.per_example(picky, name="picky"),
        strop.per_example(crashing, name="picky"),
        strop.corpus_metric(lambda answers, labels: float(np.mean([picky(a, 0) for a in answers])), name="picky"),
        strop.corpus_metric(lambda answers, labels: float(np.mean([crashing(a, 0) for a in answers])), name="picky"),
    ],
    ids=["nan per example", "fails per example", "nan for all", "fails for all"],
)
def test_a_candidate_that_cannot_be_judged_is_to_blame_itself(quality: Quality, arms: Callable[..., None]) -> None:
    """It is an error of the measured candidate, which ends its trial; an error of the workload would end the run."""
    arms(near(1000.0))
    with pytest.raises(WrongAnswersError, match="quality 'picky'"):
        judged(quality)


def test_a_workload_without_a_quality_claims_none(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    found = judged(strop.unjudged("random weights"))
    assert found.quality is None
    assert found.comparisons["all"].verdict is Verdict.FASTER


def test_related_examples_count_by_their_sources(arms: Callable[..., None]) -> None:
    arms(near(3.0), original=near(3.0))
    found = judged(SCORES["lower"], sources=[str(i // 10) for i in range(EXAMPLES)]).quality
    assert found is not None
    assert (found.n, found.clusters) == (EXAMPLES, EXAMPLES // 10)


@pytest.mark.parametrize(("faster", "verdict"), [(2.0, Verdict.FASTER), (0.5, Verdict.SLOWER), (1.0, Verdict.NO_GAIN)])
def test_the_verdict_is_about_the_second_recipe(faster: float, verdict: Verdict, arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2, faster=faster)
    found = judged(strop.agreement())
    assert found.comparisons["all"].verdict is verdict
    assert found.comparisons["one"].speedup.estimate == pytest.approx(faster, rel=0.01)
    assert found.comparisons["all"].rounds == 3
    assert found.comparisons["all"].pairs == 12


def test_everything_is_on_record_and_a_second_time_is_refused(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    judged(strop.agreement())
    plan = read_json(Path("run") / "plan.json")
    assert (plan["command"], plan["recipes"], plan["request"]["max_drop"]["value"]) == ("compare", [{}, {}], 0.05)
    assert len(list(Path("run", "samples").iterdir())) == 1
    assert [check for check in strop.verify("run") if check.problem] == []
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        judged(strop.agreement())


def test_without_a_folder_the_run_lies_below_runs(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    compare(workload(strop.agreement()), "strop: 1", Recipe(), rounds=2, pairs=2)
    (run,) = Path("runs").iterdir()
    assert run.name.startswith("compare-20")


def test_a_recipe_that_has_nothing_to_do_is_no_comparison(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    with pytest.raises(PrepareError, match=r"38 memory_layout.*declined"):
        compare(workload(strop.agreement()), Recipe(), "strop: 1\ninstructions: {memory_layout: {}}\n", out="run")


def test_a_recipe_that_is_not_legal_is_refused_as_when_it_is_applied(arms: Callable[..., None]) -> None:
    arms(lambda x: x * 2)
    with pytest.raises(RecipeError, match="38 memory_layout excludes 47"):
        compare(workload(strop.agreement()), Recipe(), "strop: 1\ninstructions: {memory_layout: {}, engine: {}}\n", out="run")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rounds": 1}, UsageError, "rounds of a measuring plan must be 2 or more"),
        ({"max_drop": "x"}, UsageError, "a quality budget was expected"),
        ({"first": "strop: 9"}, UsageError, "is not a strop recipe"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"first": Recipe(), "second": Recipe(), "out": "run", **changes}
    with pytest.raises(error, match=message):
        compare(workload(strop.agreement()), **arguments)
    assert not Path("run").exists()


def test_arms_that_die_are_an_error_and_leave_the_record_of_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(*_: object) -> None:
        raise MeasureError("planted")

    monkeypatch.setattr(Bench, "confirm", confirm)
    with pytest.raises(MeasureError, match="planted"):
        judged(strop.agreement())
    assert Path("run", "plan.json").exists()
    assert not Path("run", "steps").exists()
