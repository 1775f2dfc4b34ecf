"""The bootstrap guard: agrees with t where t is right, follows the metric's direction, refuses NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from strop.errors import MeasureError, WrongAnswersError
from strop.measure.bootstrap import Indices, PairedMetric, judge_corpus
from strop.measure.quality import Guard, judge_scores
from strop.measure.ratios import FloatArray


def means(baseline: FloatArray, candidate: FloatArray) -> PairedMetric:
    return lambda indices: (float(baseline[indices].mean()), float(candidate[indices].mean()))


def f1(truth: FloatArray, answers: FloatArray, indices: Indices) -> float:
    hits = float((truth[indices] * answers[indices]).sum())
    return 2 * hits / float(truth[indices].sum() + answers[indices].sum())


def test_bootstrap_of_a_mean_is_the_t_test() -> None:
    baseline, candidate = np.random.default_rng(0).normal(0, 1, (2, 300))
    ours = judge_corpus(means(baseline, candidate), 300, margin=0.3, metric="m")
    reference = judge_scores(baseline, candidate, margin=0.3, metric="m")
    assert ours.difference.low == pytest.approx(reference.difference.low, abs=0.02)
    assert ours.difference.high == pytest.approx(reference.difference.high, abs=0.02)
    assert ours.guard is reference.guard


@pytest.mark.parametrize(("flips", "guard"), [(0, Guard.HELD), (3, Guard.HELD), (60, Guard.BROKEN)])
def test_f1_guard(flips: int, guard: Guard) -> None:
    generator = np.random.default_rng(1)
    truth = (generator.random(600) < 0.5).astype(float)
    baseline = np.where(generator.random(600) < 0.95, truth, 1 - truth)
    candidate = baseline.copy()
    candidate[:flips] = 1 - truth[:flips]
    found = judge_corpus(lambda i: (f1(truth, baseline, i), f1(truth, candidate, i)), 600, margin=0.02, metric="f1")
    assert found.guard is guard
    assert found.needed_n is not None


@pytest.mark.parametrize(("shift", "guard"), [(0.0, Guard.HELD), (0.5, Guard.BROKEN), (-0.5, Guard.HELD)])
def test_lower_is_better(shift: float, guard: Guard) -> None:
    baseline = np.random.default_rng(2).normal(-50, 1, 200)
    found = judge_corpus(means(baseline, baseline + shift), 200, margin=0.1, metric="word errors", higher_is_better=False)
    assert found.guard is guard
    assert found.difference.estimate == pytest.approx(shift, abs=1e-9)


def test_bounds_of_a_skewed_metric_are_bias_corrected_and_accelerated() -> None:
    gain = 1.0 - np.random.default_rng(6).exponential(1.0, 60)
    ours = judge_corpus(means(np.zeros(60), gain), 60, margin=0.5, metric="m", resamples=20_000)
    reference = stats.bootstrap((gain,), np.mean, confidence_level=0.9, n_resamples=20_000, method="BCa", rng=0)
    assert ours.difference.low == pytest.approx(reference.confidence_interval.low, abs=0.004)
    assert ours.difference.high == pytest.approx(reference.confidence_interval.high, abs=0.004)


def test_skewed_bounds_keep_their_error_rate() -> None:
    generator = np.random.default_rng(3)
    missed = 0
    for seed in range(200):
        gain = 1.0 - generator.exponential(1.0, 80)
        found = judge_corpus(means(np.zeros(80), gain), 80, margin=0.5, metric="m", resamples=400, seed=seed)
        missed += found.difference.low > 0
    assert missed <= 200 * 0.05 + 4 * math.sqrt(200 * 0.05)


def test_sources_are_resampled_whole() -> None:
    baseline, candidate = np.random.default_rng(4).normal(0, 1, (2, 60))
    once = judge_corpus(means(baseline, candidate), 60, margin=0.3, metric="m")
    copied = means(np.repeat(baseline, 20), np.repeat(candidate, 20))
    many = judge_corpus(copied, 1200, margin=0.3, metric="m", clusters=np.repeat(np.arange(60), 20).tolist())
    assert many.difference.low == pytest.approx(once.difference.low)
    assert (many.n, many.clusters) == (1200, 60)


def test_the_same_seed_gives_the_same_bounds() -> None:
    baseline, candidate = np.random.default_rng(5).normal(0, 1, (2, 100))
    first, again = (judge_corpus(means(baseline, candidate), 100, margin=0.1, metric="m", seed=7) for _ in range(2))
    assert first == again
    assert first != judge_corpus(means(baseline, candidate), 100, margin=0.1, metric="m", seed=8)


def test_small_sets_are_called_rough() -> None:
    found = judge_corpus(means(np.zeros(20), np.zeros(20)), 20, margin=0.1, metric="m", resamples=50)
    assert [finding.code for finding in found.findings] == ["small-evaluation"]


def test_broken_metrics_are_an_error_not_a_verdict() -> None:
    with pytest.raises(MeasureError, match=r"'f1' gave baseline 0\.5 and candidate nan"):
        judge_corpus(lambda i: (0.5, math.nan), 100, margin=0.1, metric="f1")
    rare = np.zeros(30)
    rare[0] = 1.0
    with pytest.raises(WrongAnswersError, match=r"gave nan on examples where the original has 0\.5"):
        judge_corpus(lambda i: (0.5, 0.5 if rare[i].any() else math.nan), 30, margin=0.1, metric="recall", resamples=200)
    with pytest.raises(MeasureError, match="two independent examples"):
        judge_corpus(means(np.zeros(1), np.zeros(1)), 1, margin=0.1, metric="m")
    with pytest.raises(MeasureError, match="2 sources were named for 3"):
        judge_corpus(means(np.zeros(3), np.zeros(3)), 3, margin=0.1, metric="m", clusters=["a", "b"])
    with pytest.raises(MeasureError, match="margin must be 0 or more"):
        judge_corpus(means(np.zeros(9), np.zeros(9)), 9, margin=-0.1, metric="m")


def test_resamples_on_which_a_metric_is_undefined_are_drawn_again() -> None:
    """One class has one example of thirty, so 36 % of the resamples lack it, and so does one jackknife group."""
    rare, scores = np.arange(30) == 0, np.random.default_rng(4).normal(0, 0.01, 30)

    def metric(i: Indices) -> tuple[float, float]:
        return (0.5, 0.5 + float(scores[i].mean())) if rare[i].any() else (math.nan, math.nan)

    found = judge_corpus(metric, 30, margin=0.1, metric="area", resamples=2000)
    assert found.guard is Guard.HELD
    everywhere = judge_corpus(means(np.full(30, 0.5), 0.5 + scores), 30, margin=0.1, metric="area", resamples=2000)
    assert found.difference.low == pytest.approx(everywhere.difference.low, abs=0.001)
    with pytest.raises(MeasureError, match=r"undefined, or fails, on .* of 200 resamples of 30 independent examples"):
        judge_corpus(
            lambda i: (0.5, 0.5) if len(set(i)) > 25 else (math.nan, math.nan), 30, margin=0.1, metric="m", resamples=200
        )


def test_too_few_examples_decide_nothing_even_where_none_of_them_changed() -> None:
    """A recipe that ruins one example in twenty leaves ten of them alone more often than not."""
    alike = [judge_corpus(means(np.ones(n), np.ones(n)), n, margin=0.01, metric="F1") for n in (2, 19, 20)]
    assert [found.guard for found in alike] == [Guard.UNPROVEN, Guard.UNPROVEN, Guard.HELD]
    assert alike[0].findings[0].code == "evaluation-too-small" and alike[0].test == "none"
