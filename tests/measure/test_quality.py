"""The guard: right direction, right test, able to fail, unable to be fooled by clusters or broken numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from strop.errors import MeasureError
from strop.measure.quality import Guard, QualityResult, judge_agreement, judge_scores, label_free, two_stage_size
from strop.measure.ratios import FloatArray


def outcomes(n: int, lost: int, won: int, right: float = 0.9) -> tuple[FloatArray, FloatArray]:
    """Return right/wrong outcomes in which the candidate loses and wins given numbers of examples."""
    baseline = (np.arange(n) < right * n).astype(float)
    candidate = baseline.copy()
    candidate[:lost] = 0.0
    candidate[n - won :] = 1.0
    return baseline, candidate


@pytest.mark.parametrize(
    ("n", "lost", "won", "guard"),
    [
        (1500, 0, 0, Guard.HELD),
        (1500, 5, 2, Guard.HELD),
        (1500, 12, 12, Guard.HELD),
        (1500, 20, 10, Guard.UNPROVEN),
        (1500, 75, 20, Guard.BROKEN),
        (298, 0, 0, Guard.UNPROVEN),
        (299, 0, 0, Guard.HELD),
    ],
)
def test_accuracy_guard(n: int, lost: int, won: int, guard: Guard) -> None:
    found = judge_scores(*outcomes(n, lost, won), margin=0.01, metric="accuracy")
    assert found.guard is guard
    assert (found.only_baseline, found.only_candidate, found.n, found.clusters) == (lost, won, n, n)
    assert found.difference.low <= found.difference.estimate <= found.difference.high
    assert found.difference.estimate == pytest.approx((won - lost) / n)
    assert (found.difference.low >= -0.01) == (guard is Guard.HELD)


def test_few_differences_are_judged_exactly_and_many_by_the_score_test() -> None:
    assert "Clopper-Pearson" in judge_scores(*outcomes(1500, 5, 4), margin=0.01, metric="a").test
    assert "Tango" in judge_scores(*outcomes(1500, 5, 5), margin=0.01, metric="a").test


def test_a_set_too_small_says_how_many_it_needs() -> None:
    found = judge_scores(*outcomes(200, 4, 4), margin=0.01, metric="a")
    assert found.guard is Guard.UNPROVEN
    assert found.needed_n == 2474
    assert [finding.code for finding in found.findings] == ["evaluation-too-small"]
    assert "2474" in found.findings[0].message


def test_a_zero_margin_is_never_held_by_equal_answers() -> None:
    assert judge_scores(*outcomes(5000, 0, 0), margin=0.0, metric="a").guard is Guard.UNPROVEN


def test_a_planted_two_point_drop_is_refused() -> None:
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        draw = generator.random(2000)
        baseline, candidate = (draw >= 0.01).astype(float), ((draw < 0.01) | (draw >= 0.04)).astype(float)
        refused += judge_scores(baseline, candidate, margin=0.01, metric="a").guard is not Guard.HELD
    assert refused >= 475


def test_agreement_without_labels() -> None:
    assert judge_agreement(0, 299, margin=0.01, metric="agreement").guard is Guard.HELD
    assert judge_agreement(3, 1000, margin=0.01, metric="agreement").guard is Guard.HELD
    assert judge_agreement(80, 1000, margin=0.01, metric="agreement").guard is Guard.BROKEN
    assert label_free(0, 299, 0.01)
    assert not label_free(0, 298, 0.01)
    assert not label_free(0, 0, 0.01)
    with pytest.raises(MeasureError, match="5 differing answers of 3"):
        judge_agreement(5, 3, margin=0.01, metric="agreement")


@pytest.mark.parametrize("offset", [0.0, -100.0])
@pytest.mark.parametrize(("shift", "guard"), [(0.0, Guard.HELD), (0.5, Guard.BROKEN), (-0.5, Guard.HELD), (0.1, Guard.UNPROVEN)])
def test_losses_are_better_when_lower_and_may_be_negative(offset: float, shift: float, guard: Guard) -> None:
    generator = np.random.default_rng(1)
    baseline = offset + generator.normal(0, 1, 400)
    candidate = baseline + shift + generator.normal(0, 0.3, 400)
    found = judge_scores(baseline, candidate, margin=0.1, metric="loss", higher_is_better=False)
    assert found.guard is guard
    assert found.difference.estimate == pytest.approx(found.candidate - found.baseline)
    assert found.difference.low <= found.difference.estimate <= found.difference.high
    mirrored = judge_scores(-baseline, -candidate, margin=0.1, metric="gain")
    assert mirrored.guard is guard
    assert mirrored.difference.low == pytest.approx(-found.difference.high)


def test_paired_t_bound_is_the_textbook_one() -> None:
    from scipy import stats

    generator = np.random.default_rng(2)
    baseline, candidate = generator.normal(0, 1, (2, 60))
    found = judge_scores(baseline, candidate, margin=0.5, metric="score")
    reference = stats.ttest_rel(candidate, baseline, alternative="greater").confidence_interval(0.95)
    assert found.difference.low == pytest.approx(reference.low)
    assert found.test == "paired t-test"
    assert found.only_baseline is None


def test_too_few_scores_prove_nothing() -> None:
    found = judge_scores(np.zeros(8) + 0.5, np.zeros(8) + 0.5, margin=0.1, metric="score")
    assert found.guard is Guard.UNPROVEN
    assert "8 independent examples are too few" in found.findings[0].message
    json.dumps(found.to_json(), allow_nan=False)
    runs = judge_scores(
        np.array([0.8, 0.81, 0.79, 0.8, 0.82]), np.array([0.81, 0.82, 0.8, 0.8, 0.82]), margin=0.02, metric="s", smallest=5
    )
    assert runs.guard is Guard.HELD


def test_clusters_are_the_units() -> None:
    """Copying every source fifty times must not make the proof fifty times better."""
    generator = np.random.default_rng(3)
    baseline, candidate = generator.normal(0, 1, (2, 30))
    once = judge_scores(baseline, candidate, margin=0.5, metric="s")
    copied = judge_scores(
        np.repeat(baseline, 50), np.repeat(candidate, 50), margin=0.5, metric="s", clusters=np.repeat(np.arange(30), 50).tolist()
    )
    assert copied.difference.low == pytest.approx(once.difference.low)
    assert (copied.n, copied.clusters) == (1500, 30)


def test_clustered_answers_keep_their_error_rate() -> None:
    """Disagreement concentrated in some sources, exactly the margin bad: the naive test is fooled, ours is not."""
    generator = np.random.default_rng(4)
    fooled = held = 0
    clusters = np.repeat(np.arange(60), 20)
    for _ in range(400):
        share = generator.beta(0.25, 0.25 * 9, 60)
        same = (generator.random(1200) >= np.repeat(share, 20)).astype(float)
        held += judge_scores(np.ones(1200), same, margin=0.1, metric="a", clusters=clusters.tolist()).guard is Guard.HELD
        fooled += judge_scores(np.ones(1200), same, margin=0.1, metric="a").guard is Guard.HELD
    assert held <= 400 * 0.1
    assert fooled > 400 * 0.15


def test_rare_differences_in_clusters_count_at_the_effective_size() -> None:
    same = np.ones(2000)
    clusters = (np.arange(2000) // 50).tolist()
    found = judge_scores(same, same, margin=0.01, metric="a", clusters=clusters)
    assert found.guard is Guard.HELD
    assert found.findings[0].code == "related-examples"
    assert "339 independent" in found.findings[0].message
    together, apart = same.copy(), same.copy()
    together[:3] = 0.0
    apart[[0, 50, 100]] = 0.0
    first, second = (judge_scores(same, changed, margin=0.01, metric="a", clusters=clusters) for changed in (together, apart))
    assert first.difference.low <= second.difference.low < -0.005
    assert found.needed_n is not None
    assert found.needed_n > 299


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_numbers_that_are_not_finite_are_an_error(bad: float, arm: str) -> None:
    scores = {"baseline": np.ones(50), "candidate": np.ones(50)}
    scores[arm][7] = bad
    with pytest.raises(MeasureError, match=f"1 of 50 {arm} scores are not finite"):
        judge_scores(**scores, margin=0.01, metric="accuracy")


def test_input_that_cannot_be_paired_is_an_error() -> None:
    with pytest.raises(MeasureError, match="3 baseline and 4 candidate"):
        judge_scores(np.ones(3), np.ones(4), margin=0.01, metric="a")
    with pytest.raises(MeasureError, match="0 baseline and 0 candidate"):
        judge_scores(np.ones(0), np.ones(0), margin=0.01, metric="a")
    with pytest.raises(MeasureError, match="2 sources were named for 3"):
        judge_scores(np.ones(3), np.ones(3), margin=0.01, metric="a", clusters=["x", "y"])
    with pytest.raises(MeasureError, match="one source"):
        judge_scores(np.ones(3), np.ones(3), margin=0.01, metric="a", clusters=["x"] * 3)
    for margin in (-0.01, math.nan):
        with pytest.raises(MeasureError, match="margin must be 0 or more"):
            judge_scores(np.ones(3), np.ones(3), margin=margin, metric="a")


def test_results_survive_json() -> None:
    found = judge_scores(*outcomes(200, 4, 4), margin=0.01, metric="a")
    assert QualityResult.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_too_few_sources_prove_nothing_but_tell_how_far_scores_spread() -> None:
    rng = np.random.default_rng(0)
    sources = np.repeat(np.arange(9), 16)
    loss = 0.02 + 0.01 * rng.standard_normal(9)[sources]
    found = judge_scores(np.ones(144), 1 - loss, margin=0.05, metric="overlap", clusters=list(sources))
    assert (found.guard, found.test, found.needed_n) == (Guard.UNPROVEN, "none", None)
    assert found.error == pytest.approx(loss[::16].std(ddof=1) / 3, rel=1e-6)
    assert found.deviation == pytest.approx(12 * found.error, rel=1e-6)
    assert QualityResult.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_five_trainings_that_could_not_decide_are_never_told_that_fewer_would() -> None:
    plain = [0.9187, 0.9127, 0.9220, 0.9173, 0.9167]  # of a run that said that 4 would decide
    recipe = [0.9173, 0.9200, 0.9160, 0.9073, 0.9167]
    found = judge_scores(plain, recipe, margin=0.0092, metric="accuracy", alpha=0.03, smallest=5, proportions=False)
    assert found.guard is Guard.UNPROVEN and found.needed_n is not None
    assert found.needed_n == 6
    assert f"{found.needed_n} would decide" in found.describe() and found.findings[0].advice.startswith(f"give {found.needed_n} ")
    # A mean loss beyond the margin: however many more there are, none of them would show that it is within.
    hopeless = judge_scores(plain, [p - 0.01 + d for p, d in zip(plain, (0.004, -0.004, 0.003, -0.003, 0), strict=True)],
        margin=0.0092, metric="accuracy", alpha=0.03, smallest=5, proportions=False)  # fmt: skip
    assert hopeless.guard is Guard.UNPROVEN and hopeless.needed_n is None and "decide" not in hopeless.describe()


def test_what_is_needed_counts_related_scores_as_related() -> None:
    rng = np.random.default_rng(0)
    sources = np.repeat(np.arange(30), 16)
    right = 1 - (0.05 + 0.05 * rng.standard_normal(30)[sources])
    alone = judge_scores(np.ones(480), right, margin=0.02, metric="overlap")
    related = judge_scores(np.ones(480), right, margin=0.02, metric="overlap", clusters=list(sources))
    assert alone.needed_n is not None and related.needed_n is not None
    assert 10 * alone.needed_n < related.needed_n < 20 * alone.needed_n


def test_five_whole_runs_are_judged_by_their_differences_even_where_all_are_perfect() -> None:
    perfect, worse = np.ones(5), np.array([1.0, 0.9, 0.9, 0.9, 0.9])
    settings = {"margin": 0.01, "metric": "accuracy", "smallest": 5, "proportions": False}
    found = judge_scores(perfect, perfect, **settings)  # type: ignore[arg-type]
    assert (found.guard, found.test, found.discordance) == (Guard.HELD, "paired t-test", None)
    assert judge_scores(perfect, worse, **settings).guard is Guard.BROKEN  # type: ignore[arg-type]
    assert judge_scores(perfect, perfect, margin=0.01, metric="accuracy").guard is Guard.UNPROVEN  # five answers prove little


def two_stages(loss: float, spread: float, tests: int) -> float:
    """Share of tests that hold a margin of 1, whose number of scores is chosen by the first five; alpha is 5 %."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(tests):
        scores = rng.normal(-loss, spread, 400)
        n = two_stage_size(scores[:5], margin=1.0, alpha=0.05)
        judged = judge_scores(
            np.zeros(min(n, 400)), scores[:n], margin=1.0, metric="m", smallest=5, proportions=False, pilot=5, alpha=0.05
        )
        held += judged.guard is Guard.HELD
    return held / tests


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.5])
def test_a_number_chosen_by_the_spread_keeps_the_error_rate_and_the_power(spread: float) -> None:
    tests = 4000
    assert two_stages(1.0, spread, tests) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tests)
    assert two_stages(0.0, spread, 500) >= 0.8 - 3 * math.sqrt(0.8 * 0.2 / 500)


def test_five_scores_that_suffice_are_judged_by_the_plain_t_test() -> None:
    baseline, candidate = np.array([0.90, 0.91, 0.92, 0.93, 0.94]), np.array([0.91, 0.90, 0.92, 0.93, 0.94])
    settings: dict[str, Any] = {"margin": 0.05, "metric": "m", "smallest": 5, "proportions": False}
    plain, two = (judge_scores(baseline, candidate, pilot=pilot, **settings) for pilot in (None, 5))
    assert plain == two and two_stage_size(candidate - baseline, margin=0.05, alpha=0.05) == 5


def test_the_two_stage_bound_keeps_the_spread_of_the_first_scores() -> None:
    """Which the later ones, wide apart here, do not touch: what chose the number of scores must not be chosen with."""
    difference = np.array([0.00, 0.01, -0.01, 0.02, -0.02, 0.5, -0.5])
    judged = judge_scores(np.zeros(7), difference, margin=0.1, metric="m", smallest=5, proportions=False, pilot=5)
    half = 2.1318 * difference[:5].std(ddof=1) / math.sqrt(7)  # t of four degrees of freedom at 95 %
    assert (judged.difference.low, judged.difference.high) == (pytest.approx(-half, rel=1e-3), pytest.approx(half, rel=1e-3))
