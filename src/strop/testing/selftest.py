"""The instrument measures itself: two copies of one target, and copies with a known amount of work added.

Real processes, real turn-taking, the real judge. What comes out is this machine's own error rate.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strop.errors import UsageError
from strop.measure.arm import Arm, ArmSpec
from strop.measure.clock import uniform
from strop.measure.collect import block_plan, profile, take_pair
from strop.measure.judge import Screen
from strop.measure.plan import ScreenPlan
from strop.measure.proportions import lower_share, upper_share
from strop.measure.result import Verdict
from strop.measure.timing import WarmRule
from strop.observe import Event, Level, Observer, silent
from strop.units import Ratio, Seconds

UNITS = 40
"""Matrix products in a call, so that 5 % and 10 % are whole numbers of them."""
PLANTS = (0.0, 0.05, 0.10)
"""Extra work in one of the two arms."""
CYCLE = (0.0, 0.05, 0.0, 0.10, 0.0)
"""Order of the plants: three trials of five compare a target with itself."""
_POINT = "tiny"
_TARGET = "strop.testing.tiny:tiny"
_BLOCK_SECONDS: Seconds = 0.01
_PAUSE_SECONDS: Seconds = 0.004
_WARM = WarmRule(min_seconds=0.05, max_seconds=2.0)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One comparison with a known answer.

    Attributes:
        plant: share of extra work.
        in_baseline: whether the baseline has it, so that the candidate is the faster one.
        verdict: what the judge said.
        speedup: estimated speed-up of the candidate.
        pairs: pairs taken, voided ones included.
        voided: how many of them were voided.
        seconds: wall time of the trial.
    """

    plant: Ratio
    in_baseline: bool
    verdict: Verdict
    speedup: Ratio
    pairs: int
    voided: int
    seconds: Seconds

    @property
    def truth(self) -> Ratio:
        """The speed-up that was planted."""
        return 1 + self.plant if self.in_baseline else 1 / (1 + self.plant)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantReport:
    """All trials with one amount of planted work.

    Attributes:
        plant: share of extra work; 0 compares a target with itself.
        trials: how many.
        right: verdicts FASTER or SLOWER in the planted direction; for plant 0: neither of them.
        wrong: FASTER or SLOWER against the planted direction; for plant 0: either of them.
        faster_without_cause: FASTER although the candidate was not faster.
        bias: median of estimated over planted speed-up, minus one.
        pairs: median pairs to the verdict.
    """

    plant: Ratio
    trials: int
    right: int
    wrong: int
    faster_without_cause: int
    bias: Ratio
    pairs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestReport:
    """What a self-test found; plain data.

    Attributes:
        alpha: error probability that the judge promises.
        delta: smallest worthwhile gain it was asked for.
        trials: done within the time.
        asked: trials that were asked for.
        false_faster: how often two equal targets gave FASTER.
        false_rate: two-sided 95 % Clopper-Pearson interval of that rate.
        void_share: share of pairs voided because the machine was busy.
        seconds: wall time.
        plants: per amount of planted work.
    """

    alpha: float
    delta: Ratio
    trials: int
    asked: int
    false_faster: int
    false_rate: tuple[float, float]
    void_share: Ratio
    seconds: Seconds
    plants: tuple[PlantReport, ...]

    @property
    def sound(self) -> bool:
        """Whether what was seen is compatible with the promise: the interval of the false rate reaches down to alpha, and no
        plant was judged in the wrong direction more often than that."""
        signed = [plant for plant in self.plants if plant.plant > 0 and plant.trials]
        wrong = all(lower_share(plant.wrong, plant.trials, 0.025) <= self.alpha for plant in signed)
        return self.trials > 0 and self.false_rate[0] <= self.alpha and wrong

    @property
    def proven(self) -> bool:
        """Whether enough was seen to bound the false rate by alpha: the whole interval lies at or below it."""
        return self.sound and self.false_rate[1] <= self.alpha

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form with both judgements."""
        return {**asdict(self), "sound": self.sound, "proven": self.proven}


RunTrial = Callable[[float, bool, ScreenPlan, int, Path], Trial]
"""(plant, in the baseline?, plan, seed, folder for logs) → trial."""


def selftest(
    trials: int = 200,
    seconds: Seconds = 300.0,
    observer: Observer = silent,
    *,
    seed: int = 0,
    plan: ScreenPlan | None = None,
    run_trial: RunTrial | None = None,
) -> SelfTestReport:
    """Run trials with known answers on fresh processes until all are done or the time is used up.

    Args:
        trials: how many; three in five compare a target with itself.
        seconds: limit; the trial that is running when it passes is finished.
        observer: told after each trial, never during one.
        seed: of all coins, inputs and processes.
        plan: how a trial is judged.
        run_trial: takes the place of :func:`live_trial`.
    """
    if trials < len(CYCLE):
        raise UsageError(f"a self-test needs at least {len(CYCLE)} trials, one of each kind; got {trials}.")
    chosen, run, start = plan or ScreenPlan(), run_trial or live_trial, time.monotonic()
    done: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="strop-selftest-") as folder:
        for number in range(trials):
            if time.monotonic() - start >= seconds:
                break
            in_baseline = uniform(seed, "side", number) < 0.5
            trial_seed = int(uniform(seed, "trial", number) * 2**53)
            done.append(run(CYCLE[number % len(CYCLE)], in_baseline, chosen, trial_seed, Path(folder)))
            observer(Event("selftest.trial", f"{number + 1} of {trials}: {done[-1].verdict}", Level.PROGRESS, {"number": number}))
    return summarise(done, asked=trials, plan=chosen, seconds=time.monotonic() - start)


def live_trial(plant: float, in_baseline: bool, plan: ScreenPlan, seed: int, folder: Path) -> Trial:
    """Start a fresh pair of processes, compare them until the judge decides, and end them."""
    start = time.monotonic()
    extra = {"baseline": plant * in_baseline, "candidate": plant * (not in_baseline)}
    specs = [
        ArmSpec(name=name, target=_TARGET, arguments={"units": UNITS, "extra": share}, environment=_ONE_THREAD)
        for name, share in extra.items()
    ]
    logs = [folder / f"{spec.name}.log" for spec in specs]
    with Arm.start(specs[0], seed=seed, log=logs[0]) as baseline, Arm.start(specs[1], seed=seed + 1, log=logs[1]) as candidate:
        for arm in (baseline, candidate):
            arm.load()
        for arm in (baseline, candidate):
            arm.warm(rule=_WARM)
            arm.park()
        blocks = block_plan(
            profile(baseline, rival=candidate, seed=seed),
            profile(candidate, rival=baseline, seed=seed),
            block_seconds=_BLOCK_SECONDS,
        )
        screen, verdict = Screen(plan, [_POINT]), None
        while verdict is None:
            number = len(screen.pairs)
            pair = take_pair(baseline, candidate, blocks, seed=seed, comparison="selftest", index=number, pause=_PAUSE_SECONDS)
            verdict = screen.add(pair)
    return Trial(
        plant=plant,
        in_baseline=in_baseline,
        verdict=verdict,
        speedup=screen.comparisons()[_POINT].speedup.estimate,
        pairs=len(screen.pairs),
        voided=sum(pair.voided is not None for pair in screen.pairs),
        seconds=time.monotonic() - start,
    )


def summarise(done: Sequence[Trial], *, asked: int, plan: ScreenPlan, seconds: Seconds) -> SelfTestReport:
    """Count what the trials say; pure."""
    equal = [trial for trial in done if trial.plant == 0]
    false_faster = sum(trial.verdict is Verdict.FASTER for trial in equal)
    pairs = sum(trial.pairs for trial in done)
    count = max(len(equal), 1)
    rate = (lower_share(false_faster, count, 0.025), upper_share(false_faster, count, 0.025) if equal else 1.0)
    return SelfTestReport(
        alpha=plan.alpha,
        delta=plan.delta,
        trials=len(done),
        asked=asked,
        false_faster=false_faster,
        false_rate=rate,
        void_share=sum(trial.voided for trial in done) / pairs if pairs else 0.0,
        seconds=seconds,
        plants=tuple(_plant_report(plant, [trial for trial in done if trial.plant == plant]) for plant in PLANTS),
    )


def _plant_report(plant: float, trials: Sequence[Trial]) -> PlantReport:
    signed = (Verdict.FASTER, Verdict.SLOWER)
    claims = [trial for trial in trials if trial.verdict in signed]
    right = [trial for trial in claims if plant > 0 and (trial.verdict is Verdict.FASTER) == trial.in_baseline]
    ratios = [trial.speedup / trial.truth for trial in trials if trial.speedup == trial.speedup]
    return PlantReport(
        plant=plant,
        trials=len(trials),
        right=len(right) if plant > 0 else len(trials) - len(claims),
        wrong=len(claims) - len(right),
        faster_without_cause=sum(t.verdict is Verdict.FASTER and t.truth <= 1 for t in trials),
        bias=statistics.median(ratios) - 1 if ratios else 0.0,
        pairs=statistics.median(trial.pairs for trial in trials) if trials else 0.0,
    )
