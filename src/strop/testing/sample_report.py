"""An invented report with every part filled, for tests of renderers and for looking at them. No number in it was measured."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from strop.measure.host import Host
from strop.measure.result import Comparison, Finding, Interval, Verdict
from strop.report import (
    Ablation,
    Budget,
    Claim,
    ColdMark,
    ColdStart,
    Command,
    Cost,
    Diagnosis,
    Footprint,
    Latency,
    Operator,
    Outcome,
    Pareto,
    ParetoPoint,
    QualityCheck,
    RooflinePoint,
    RunReport,
    Samples,
    SeedTime,
    Subject,
    Suggestion,
    Tail,
    TimeToTarget,
    Trial,
    break_even_calls,
)

QUANT, ENGINE, FUSION, THREADS = "29 static_quantization", "47 engine_choice", "31 kernel_fusion", "38 memory_layout"

RECIPE = """static_quantization:
  scheme: int8
  keep: [classifier]
memory_layout:
  threads: 2
engine_choice:
  engine: openvino
"""


def interval(estimate: float, width: float = 0.03) -> Interval:
    """Return a 95 % interval of ``estimate`` ± ``width`` of itself."""
    return Interval(low=estimate * (1 - width), estimate=estimate, high=estimate * (1 + width), confidence=0.95)


def comparison(point: str, estimate: float, verdict: Verdict = Verdict.FASTER, width: float = 0.03) -> Comparison:
    """Return a confirmed comparison."""
    return Comparison(
        point=point,
        phase="confirm",
        verdict=verdict,
        speedup=interval(estimate, width),
        pairs=80,
        rounds=5,
        alpha=0.05,
        delta=0.02,
    )


def samples(point: str, estimate: float, count: int = 80, spread: float = 0.04) -> Samples:
    """Return invented paired log-ratios around ``ln(estimate)`` with a few stragglers."""
    draw = random.Random(point)
    values = [math.log(estimate) + draw.gauss(0, spread) * (4 if draw.random() < 0.05 else 1) for _ in range(count)]
    return Samples(point=point, log_ratios=tuple(values))


def trial(number: int, recipe: str, status: str, **more: object) -> Trial:
    """Return a row of the table of trials."""
    return replace(Trial(id=f"t{number:02d}", recipe=recipe, status=status), **more)  # type: ignore[arg-type]


def minimal_report(exit_code: int = 3) -> RunReport:
    """Return a report in which nothing was measured."""
    return RunReport(
        subject=Subject(name="tiny"),
        budget=Budget(limit=None, spent=1.5),
        outcome=Outcome(exit_code=exit_code),
        host=Host(cpu="a processor", cores=2),
    )


def sample_report() -> RunReport:
    """Return a report of a run that kept three instructions at two operating points."""
    return RunReport(
        subject=Subject(
            name="all-MiniLM-L6-v2, sentiment",
            reference="examples/minilm_sentiment/workload.py:workload",
            detail="BertForSequenceClassification, 22.7 million parameters, float32",
            aim="latency",
            max_drop="1 % of the original’s value",
        ),
        budget=Budget(
            limit=240.0,
            spent=236.4,
            steps={
                "host and baseline": 21.3,
                "diagnosis": 6.1,
                "screening": 84.0,
                "composing": 41.2,
                "confirming": 61.5,
                "rest": 22.3,
            },
        ),
        outcome=Outcome(exit_code=0, kept=(QUANT, THREADS, ENGINE)),
        host=_host(),
        baseline=(_latency("batch 1", 0.00912, 0.0161), _latency("batch 32", 0.412, 0.455)),
        result=(_latency("batch 1", 0.00142, 0.0023), _latency("batch 32", 0.0701, 0.0762)),
        diagnosis=_diagnosis(),
        trials=_trials(),
        untried={"35 graph_compile": "the budget did not allow it"},
        recipe_yaml=RECIPE,
        gate=Claim(
            comparisons=(
                comparison("batch 1", 6.42),
                comparison("batch 32", 5.88, width=0.02),
                comparison("all", 6.14, width=0.02),
            )
        ),
        claims=(Claim(comparisons=(comparison("all", 1.04, Verdict.UNDECIDED, 0.05),), against="best one-shot recipe, t02"),),
        ablation=_ablation(),
        quality=_quality(),
        footprint_before=Footprint(process_peak=812_000_000, tensor_peak=141_200_000, disk=90_900_000),
        footprint_after=Footprint(process_peak=301_000_000, disk=24_100_000),
        cold_start=ColdStart(
            marks=(
                ColdMark(name="loaded", baseline=3.91, result=0.48),
                ColdMark(name="first answer", baseline=4.31, result=0.71),
            ),
            starts=8,
            speedup=interval(6.07, 0.04),
        ),
        cost=Cost(
            seconds=236.4,
            break_even={"batch 1": break_even_calls(236.4, 0.00912, 0.00142), "batch 32": break_even_calls(236.4, 0.412, 0.0701)},
        ),
        error_rate="at most 5 % over all confirmed claims (Holm); 6 placebos raced, none called faster",
        self_test="3 of 200 placebo trials called faster; at most 5 % allowed (Clopper–Pearson)",
        findings=_findings(),
        samples=(samples("batch 1", 6.42), samples("batch 32", 5.88, spread=0.02)),
        pareto=_pareto(),
        time_to_target=_time_to_target(),
        roofline=_roofline(),
        environment=_environment(),
        commands=_commands(),
        version="0.1.0",
        started="2026-11-22T12:04:00+00:00",
    )


def _ablation() -> tuple[Ablation, ...]:
    return (
        Ablation(instruction=QUANT, contribution=interval(1.71), verdict="kept", phase="confirm"),
        Ablation(instruction=ENGINE, contribution=interval(3.24), verdict="kept", phase="confirm"),
        Ablation(instruction=THREADS, contribution=interval(1.09, 0.02), verdict="kept", reason="needed by batch 32 only"),
        Ablation(instruction=FUSION, verdict="dropped", reason="the engine fuses the same places itself"),
    )


def _roofline() -> tuple[RooflinePoint, ...]:
    return (
        RooflinePoint(label="original, batch 1", intensity=14.0, achieved=2.1e10),
        RooflinePoint(label="original, batch 32", intensity=190.0, achieved=7.4e10),
        RooflinePoint(label="result, batch 1", intensity=55.0, achieved=1.35e11, result=True),
        RooflinePoint(label="result, batch 32", intensity=610.0, achieved=4.4e11, result=True),
    )


def _findings() -> tuple[Finding, ...]:
    return (
        Finding(
            code="noisy-host",
            message="Others used 4.1 % of the processor during timed blocks; 3 of 160 pairs were voided.",
            advice="Close other programs for narrower intervals.",
        ),
    )


def _commands() -> tuple[Command, ...]:
    return (
        Command(line="strop verify runs/minilm", what="Recompute every verdict from the raw samples; needs no model."),
        Command(line="strop rerun runs/minilm", what="Measure again here and say whether the claim holds."),
        Command(line="strop run runs/minilm/bundle --input x.json", what="Use the result."),
    )


def _environment() -> dict[str, str]:
    return {
        "Python": "3.11.9",
        "torch": "2.13.0",
        "openvino": "2026.4.0",
        "threads": "2",
        "kernel": "6.8",
        "governor": "not readable",
    }


def _host() -> Host:
    roofs = {"gemm_float32": 1.7e11, "gemm_bfloat16": 7.2e11, "gemm_int8": 1.4e12, "read": 4.3e10, "copy": 3.6e10}
    isa = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16"})
    return Host(cpu="AMD EPYC", cores=2, isa=isa, l2_bytes=2**20, l3_bytes=32 * 2**20, memory_bytes=16 * 10**9, roofs=roofs)


def _latency(point: str, p50: float, p90: float) -> Latency:
    p99 = Tail(estimate=p90 * 1.2, bound=None, calls=160)
    return Latency(
        point=point,
        p50=interval(p50, 0.02),
        p90=Tail(estimate=p90, bound=p90 * 1.06, calls=160),
        p99=p99,
        calls_per_second=0.96 / p50,
    )


def _diagnosis() -> tuple[Diagnosis, ...]:
    advice = (
        Suggestion(instruction=ENGINE, reason="38 % of the time is spent between operators"),
        Suggestion(instruction=QUANT, reason="71 % of the time is in matrix products and the processor has int8 dot products"),
    )
    small = (
        Operator(name="linear", share=0.41, calls=37),
        Operator(name="framework overhead", share=0.38),
        Operator(name="attention", share=0.09, calls=6),
        Operator(name="layer_norm", share=0.07, calls=13),
    )
    large = (
        Operator(name="linear", share=0.71, calls=37),
        Operator(name="attention", share=0.14, calls=6),
        Operator(name="gelu", share=0.09, calls=6),
        Operator(name="layer_norm", share=0.04, calls=13),
    )
    return (
        Diagnosis(
            point="batch 1",
            bottleneck="overhead-bound",
            reason="12 % of the roof; many short operators.",
            operators=small,
            suggestions=advice,
        ),
        Diagnosis(
            point="batch 32",
            bottleneck="compute-bound",
            reason="44 % of the float32 roof.",
            operators=large,
            suggestions=advice[1:],
        ),
    )


def _trials() -> tuple[Trial, ...]:
    def seen(one: float, many: float, width: float = 0.06) -> dict[str, Interval]:
        both = {"batch 1": interval(one, width), "batch 32": interval(many, width)}
        return {**both, "all": interval(math.sqrt(one * many), width)}

    return (
        trial(1, f"{ENGINE}(openvino)", "kept", screen=seen(4.3, 3.1), preparation=6.2, tallies={ENGINE: {"models lowered": 1}}),
        trial(
            2,
            f"{QUANT} + {ENGINE}(openvino)",
            "kept",
            screen=seen(6.1, 5.4),
            preparation=19.4,
            tallies={QUANT: {"linear quantised": 37}, ENGINE: {"models lowered": 1}},
            quality="agreement 99.0 %",
        ),
        trial(
            3,
            "28 dynamic_quantization + 47 engine_choice(onnxruntime)",
            "worse quality",
            screen=seen(7.9, 2.3),
            preparation=8.8,
            tallies={"28": {"linear quantised": 37}},
            reason="5.2 % of the answers differ; at most 1 % may be lost",
            quality="agreement 94.8 %",
        ),
        trial(
            4,
            "35 graph_compile",
            "no worthwhile gain",
            screen=seen(1.01, 1.0, 0.02),
            preparation=31.0,
            tallies={"35": {"graphs": 1}},
        ),
        trial(5, "18 amp_inference", "faster", screen=seen(1.4, 2.3), preparation=1.1, tallies={"18": {"operators": 61}}),
        trial(
            6,
            "31 kernel_fusion",
            "no effect",
            preparation=0.9,
            tallies={"31": {"conv+bn": 0}},
            reason="no convolution in this model",
        ),
        trial(7, "47 engine_choice(tensorrt)", "lacks dependency", reason="Run: pip install 'strop[tensorrt]'"),
        trial(8, "24 sparse_attention", "declined", reason="sequences are shorter than 512 tokens"),
        trial(9, "38 memory_layout(threads=2)", "kept", screen=seen(1.0, 1.12), preparation=0.4, tallies={"38": {"settings": 1}}),
        trial(
            10,
            "47 engine_choice(inductor)",
            "failed to prepare",
            preparation=30.0,
            reason="the compiler ran out of time after 30 s",
        ),
    )


def _quality() -> tuple[QualityCheck, ...]:
    difference = Interval(low=-0.0061, estimate=-0.0013, high=0.0034, confidence=0.9)
    return (
        QualityCheck(
            metric="accuracy",
            guard="held",
            baseline=0.9127,
            result=0.9113,
            margin=0.0091,
            difference=difference,
            test="Tango score test, one-sided 5 %",
            examples=1500,
            clusters=1500,
            discordance=0.011,
        ),
    )


def _pareto() -> Pareto:
    rows = (
        ("original", 0.00912, 0.9127, "confirm", ""),
        ("result", 0.00142, 0.9113, "confirm", "kept"),
        ("t01", 0.00212, 0.9127, "screen", "kept"),
        ("t02", 0.0015, 0.911, "screen", "kept"),
        ("t03", 0.00115, 0.871, "screen", "worse quality"),
        ("t04", 0.00903, 0.9127, "screen", "no worthwhile gain"),
        ("t05", 0.00651, 0.912, "screen", "faster"),
        ("t09", 0.0091, 0.9127, "screen", "kept"),
    )
    points = tuple(ParetoPoint(label=a, latency=b, quality=c, phase=d, status=e) for a, b, c, d, e in rows)
    return Pareto(point="batch 1", metric="accuracy", points=points, limit=0.9036)


def _time_to_target() -> TimeToTarget:
    row = SeedTime(target=0.9, baseline_seconds=60.0, baseline_steps=75, result_seconds=16.0, result_steps=75)
    seeds = tuple(replace(row, baseline_seconds=60.0 + seed) for seed in range(5))
    return TimeToTarget(what="accuracy", looks=6, seeds=seeds, sooner=Interval(low=3.2, estimate=3.5, high=3.8, confidence=0.95))
