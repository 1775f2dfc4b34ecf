import math
from dataclasses import replace

import pytest

from strop.measure.result import Interval, Verdict
from strop.report import Budget, Claim, Footprint, Outcome, QualityCheck, RunReport, Subject, Tail, words
from strop.testing.sample_report import comparison, interval, minimal_report, sample_report, trial


def _gate(verdict: Verdict, *points: tuple[str, Verdict]) -> RunReport:
    comparisons = (*(comparison(p, 1.5, v) for p, v in points), comparison("all", 1.31, verdict))
    return replace(sample_report(), gate=Claim(comparisons=comparisons))


def test_a_win_is_one_sentence_with_interval_and_quality() -> None:
    assert words.headline(sample_report()) == (
        "all-MiniLM-L6-v2, sentiment runs ×6.14 [6.02, 6.26] as fast as the original over 2 operating points, "
        "with accuracy 0.9127 → 0.9113, within the quality budget."
    )


@pytest.mark.parametrize("verdict", [Verdict.UNDECIDED, Verdict.INVALID])
def test_without_proof_no_ratio_is_printed(verdict: Verdict) -> None:
    text = words.headline(_gate(verdict))
    assert "×" not in text
    assert "1.3" not in text
    assert verdict.value.lower() in text.lower()
    assert "×" not in words.claimed(comparison("a", 1.31, verdict))


@pytest.mark.parametrize(
    ("verdict", "start"),
    [
        (Verdict.SLOWER, "all-MiniLM-L6-v2, sentiment became slower: ×1.31"),
        (Verdict.NO_GAIN, "all-MiniLM-L6-v2, sentiment gained nothing worthwhile: ×1.31"),
    ],
)
def test_a_proven_loss_or_standstill_is_said_with_its_ratio(verdict: Verdict, start: str) -> None:
    assert words.headline(_gate(verdict)).startswith(start)


def test_regressions_stand_beside_wins() -> None:
    report = _gate(Verdict.FASTER, ("batch 1", Verdict.FASTER), ("batch 8", Verdict.SLOWER), ("batch 32", Verdict.UNDECIDED))
    text = words.headline(report)
    assert "Slower at batch 8." in text
    assert "Undecided at batch 32." in text
    assert "Faster at" not in text


def test_a_simpler_choice_that_is_faster_than_the_result_is_in_the_headline() -> None:
    def against(verdict: Verdict) -> str:
        claim = Claim(comparisons=(comparison("all", 0.92, verdict),), against="best single choice (47 engine)")
        return words.headline(replace(_gate(Verdict.FASTER), claims=(claim,)))

    assert "The best single choice (47 engine) is faster still: the result has ×0.92" in against(Verdict.SLOWER)
    assert "best single choice" not in against(Verdict.FASTER)
    assert "best single choice" not in against(Verdict.UNDECIDED)


def test_many_exceptions_are_counted() -> None:
    points = [(f"p{n}", Verdict.SLOWER) for n in range(5)]
    assert "Slower at 5 of 5 operating points." in words.headline(_gate(Verdict.FASTER, *points))


def test_nothing_paid_is_a_result() -> None:
    report = replace(minimal_report(3), trials=tuple(trial(n, "x", "slower") for n in range(4)))
    assert words.headline(report) == "Nothing paid: none of the 4 recipes tried was worth keeping. Keep tiny as it is."
    one = replace(report, trials=report.trials[:1])
    assert words.headline(one) == "Nothing paid: the one recipe tried was not worth keeping. Keep tiny as it is."


@pytest.mark.parametrize("status", words.OPEN)
def test_what_is_open_is_not_said_to_have_failed(status: str) -> None:
    some = replace(minimal_report(3), trials=(trial(1, "x", "slower"), trial(2, "y", status), trial(3, "z", "declined")))
    said = "Undecided: none of the 3 recipes tried was proven worth keeping, and 1 may be. Keep tiny as it is."
    assert words.headline(some) == said
    one = replace(some, trials=some.trials[1:2])
    assert words.headline(one).startswith("Undecided: the one recipe tried was not proven worth keeping, and it may be. Keep")
    assert words.headline(minimal_report(3)) == "Undecided: no recipe could be tried. Keep tiny as it is."


def test_failure_and_interrupt_say_why() -> None:
    assert words.headline(replace(minimal_report(1), outcome=Outcome(exit_code=1, reason="The disk is full."))) == (
        "The run failed. The disk is full."
    )
    text = words.headline(replace(sample_report(), outcome=Outcome(exit_code=130, reason="Resume with --resume.")))
    assert text.startswith("Interrupted; this is the best so far. ")
    assert text.endswith("Resume with --resume.")


def test_a_kept_recipe_without_confirmation_claims_nothing() -> None:
    text = words.headline(replace(sample_report(), gate=None))
    assert "no ratio is claimed" in text
    assert "×" not in text


@pytest.mark.parametrize(
    ("guard", "clause"),
    [
        ("held", "within the quality budget"),
        ("broken", "outside the quality budget"),
        ("unproven", "not proven to be within the quality budget"),
    ],
)
def test_the_guard_is_told_in_words(guard: str, clause: str) -> None:
    check = QualityCheck(metric="F1", guard=guard, baseline=0.8, result=0.79)
    assert f"F1 0.8 → 0.79, {clause}." in words.headline(replace(sample_report(), quality=(check,)))


def test_unmeasured_quality_is_said() -> None:
    assert "; quality not measured." in words.headline(replace(sample_report(), quality=()))
    check = QualityCheck(metric="not judged", guard="not measured", note="speed only, no quality claim: weights are random")
    headline = words.headline(replace(sample_report(), quality=(check,)))
    assert "; speed only, no quality claim: weights are random." in headline and "not judged" not in headline
    assert "; F1 not measured." in words.headline(replace(sample_report(), quality=(replace(check, metric="F1", note=""),)))


@pytest.mark.parametrize(
    ("aim", "words_"), [("size", "On disk: 90.9 MB → 24.1 MB."), ("memory", "Peak memory of the process: 812 MB → 301 MB.")]
)
def test_the_headline_answers_the_aim(aim: str, words_: str) -> None:
    report = sample_report()
    assert words.headline(replace(report, subject=replace(report.subject, aim=aim))).endswith(words_)
    assert words_ not in words.headline(report)


def test_an_unmeasured_aim_is_said() -> None:
    report = replace(sample_report(), subject=Subject(name="a", aim="size"), footprint_after=Footprint())
    assert words.headline(report).endswith("On disk: 90.9 MB → not measured.")


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100, 25, "4.0 times smaller"),
        (100, 120, "1.20 times larger"),
        (100, 100.1, "unchanged"),
        (1e6, 1, "1000000 times smaller"),
        (None, 1, "not measured"),
        (0, 1, "not measured"),
    ],
)
def test_factors(before: float | None, after: float, text: str) -> None:
    assert words.factor(before, after) == text


def test_tails_carry_their_bound() -> None:
    assert words.tail(Tail(estimate=0.002, bound=0.0021, calls=100)) == "2.00 ms (≤ 2.10 ms)"
    assert words.tail(Tail(estimate=0.002, bound=None, calls=3)) == "2.00 ms (no bound)"
    assert words.tail(None) == "not measured"


def test_differences_have_signs() -> None:
    assert words.signed(Interval(low=-0.0061, estimate=-0.0013, high=0.0034, confidence=0.9)) == "−0.0013 [−0.0061, +0.0034]"
    assert words.signed(None) == "not measured"


def test_an_unbounded_interval_is_printed() -> None:
    assert words.speedup(replace(interval(1.0), high=math.inf)).endswith("∞]")
    assert words.speedup(None) == "not measured"


def test_what_was_not_kept_has_a_reason_each() -> None:
    rows = words.not_kept(
        (trial(1, "a", "kept"), trial(2, "b", "slower"), trial(3, "c", "declined", reason="too short"), trial(4, "d", "planned"))
    )
    assert rows == (("b", "slower", "proven slower"), ("c", "declined", "too short"))


@pytest.mark.parametrize(
    ("limit", "spent", "end"),
    [
        (240.0, 236.0, "the budget was kept."),
        (240.0, 252.0, "the budget was exceeded by 5.0 %."),
        (None, 3.0, "no limit was set."),
    ],
)
def test_the_budget_is_accounted_for(limit: float | None, spent: float, end: str) -> None:
    assert words.kept_by(replace(minimal_report(), budget=Budget(limit=limit, spent=spent))).endswith(end)
