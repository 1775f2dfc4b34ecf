from __future__ import annotations

import pytest

from strop import catalogue
from strop.contract.draft import Facts
from strop.contract.instruction import Instruction
from strop.contract.moment import Moment
from strop.contract.ties import Trait
from strop.diagnose.diagnosis import Bottleneck, PointDiagnosis
from strop.diagnose.suggest import RULES, Effect, suggest
from strop.measure.host import Host

BF16 = Host(
    cpu="new", cores=2, isa=frozenset({"avx512_bf16"}), roofs={"gemm_float32": 1e11, "gemm_bfloat16": 6e11, "gemm_int8": 1e12}
)
OLD = Host(cpu="old", cores=2)
TRANSFORMER = Facts(modules={"Linear": 37, "LayerNorm": 13}, splits={"calibration": 100})
CONVNET = Facts(modules={"Conv2d": 50, "BatchNorm2d": 50, "Linear": 1})


def point(products: float, overhead: float) -> PointDiagnosis:
    return PointDiagnosis(
        point="p",
        bottleneck=Bottleneck.COMPUTE,
        seconds=0.01,
        operators=(),
        operator_calls=1,
        product_share=products,
        overhead_share=overhead,
        flops=1,
        uncounted=(),
        traffic=1,
        bound=0.0,
    )


def numbers(facts: Facts, where: PointDiagnosis, host: Host = BF16) -> list[int]:
    return [s.number for s in suggest(facts, (where,), host)]


def test_every_rule_names_an_instruction_that_acts_on_a_trained_model_and_none_is_left_out() -> None:
    built = [(row, row.cls) for row in catalogue.built()]
    acting = [
        row
        for row, cls in built
        if cls is not None
        and issubclass(cls, Instruction)
        and any(Moment.FREEZE <= moment < Moment.SERVE for moment in cls().moments())
        and Trait.ACCELERATOR not in cls().ties().needs  # a diagnosis looks at processors
    ]
    assert [(rule.number, rule.name) for rule in RULES] == [(row.number, row.name) for row in acting]


def test_gain_is_amdahls_law() -> None:
    assert Effect(2.0, 1.0, 1.0).gain(point(products=1.0, overhead=0.0)) == pytest.approx(2.0)
    assert Effect(1.0, 4.0, 1.0).gain(point(products=0.5, overhead=0.5)) == pytest.approx(1 / (0.5 + 0.125))
    assert Effect(1e9, 1e9, 2.0).gain(point(products=0.5, overhead=0.0)) == pytest.approx(4.0)


def test_overhead_speaks_for_an_engine_and_products_for_fewer_bits() -> None:
    assert numbers(CONVNET, point(products=0.5, overhead=0.9))[0] == 47
    assert numbers(TRANSFORMER, point(products=0.95, overhead=0.0))[0] in (28, 29)
    assert 18 not in numbers(TRANSFORMER, point(products=0.9, overhead=0.99))


def test_what_cannot_apply_is_not_suggested() -> None:
    where = point(products=0.9, overhead=0.0)
    assert 18 in numbers(TRANSFORMER, where) and 18 not in numbers(TRANSFORMER, where, OLD)
    assert 29 in numbers(TRANSFORMER, where) and 29 not in numbers(CONVNET, where)
    assert 28 in numbers(TRANSFORMER, where) and 28 not in numbers(CONVNET, where)
    assert 38 in numbers(CONVNET, where) and 38 not in numbers(TRANSFORMER, where)
    assert 31 not in numbers(Facts(modules={"LayerNorm": 3}), where)


def test_roofs_decide_how_much_fewer_bits_promise() -> None:
    slow = Host(cpu="slow bf16", cores=2, isa=BF16.isa, roofs={"gemm_float32": 1e11, "gemm_bfloat16": 1e11})
    assert 18 not in numbers(TRANSFORMER, point(products=1.0, overhead=0.0), slow)


def test_suggestions_come_by_gain_and_say_why() -> None:
    found = suggest(TRANSFORMER, (point(0.8, 0.1), point(0.5, 0.5)), BF16)
    assert [s.gain for s in found] == sorted((s.gain for s in found), reverse=True)
    assert all("%" in s.reason and s.gain >= 1.05 for s in found)


def test_reasons_count_in_words_that_fit() -> None:
    one = Facts(modules={"Linear": 1}, splits={"calibration": 1})
    told = [s.reason.partition(";")[0] for s in suggest(one, (point(products=0.9, overhead=0.5),), BF16)]
    assert "1 layer could run in int8 with calibrated ranges" in told
    assert "1 layer could be fused with what follows" in told
    assert not [reason for reason in told if reason.startswith("0 ")]
