"""The audits, on arms that cheat in known ways."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from strop.measure.arm import Arm, ArmSpec
from strop.measure.audit import SLOW, audit, audit_cached_results, audit_shapes, audit_timed_answers
from strop.measure.result import Block, Finding


@contextmanager
def arms(tmp_path: Path, *plants: str, **more: object) -> Iterator[list[Arm]]:
    with ExitStack() as stack:
        started = []
        for number, plant in enumerate(plants):
            spec = ArmSpec(
                name=f"arm {number}",
                target="strop.testing.tiny:tiny",
                arguments={"plant": plant, **more},
                environment={"OPENBLAS_NUM_THREADS": "1"},
            )
            arm = stack.enter_context(Arm.start(spec, seed=number, log=tmp_path / f"{number}.log"))
            arm.load()
            started.append(arm)
        yield started


def code(finding: Finding | None) -> str | None:
    return finding and finding.code


def test_an_arm_that_remembers_its_latest_answer_is_found_with_and_without_variants(tmp_path: Path) -> None:
    with arms(tmp_path, "cache", units=100) as (cheat,):
        found = audit_cached_results(cheat, "tiny", 0, seed=1)
        assert found is not None
        assert code(found) == "cached-results"
        assert "% sooner" in found.message
        cheat.offers = frozenset()
        assert code(audit_cached_results(cheat, "tiny", 0, seed=1)) == "cached-results"


def test_an_honest_arm_is_not_accused(tmp_path: Path) -> None:
    with arms(tmp_path, "", units=100) as (honest,):
        assert code(audit_cached_results(honest, "tiny", 0, seed=1)) is None
        honest.offers = frozenset()
        assert code(audit_cached_results(honest, "tiny", 0, seed=1)) == "cache-audit-limited"
        honest.points = {"tiny": 1}
        assert code(audit_cached_results(honest, "tiny", 0, seed=1)) == "cache-audit-limited"


@pytest.mark.parametrize(("plant", "expected"), [("", None), ("cheat", "timed-answers-differ"), ("moody", "not-deterministic")])
def test_timed_answers_must_equal_evaluated_ones(tmp_path: Path, plant: str, expected: str | None) -> None:
    with arms(tmp_path, plant) as (arm,):
        assert code(audit_timed_answers(arm, "tiny", [0, 3])) == expected
        arm.offers = frozenset()
        assert code(audit_timed_answers(arm, "tiny", [0, 3])) == "timed-answers-unseen"


def test_a_shorter_answer_is_found(tmp_path: Path) -> None:
    with arms(tmp_path, "", "shape", "wrong") as (baseline, shorter, wrong):
        found = audit_shapes(baseline, shorter, "tiny", [0])
        assert found is not None
        assert code(found) == "shape-changed"
        assert "[[63, 64]]" in found.message
        assert "[[64, 64]]" in found.message
        assert audit_shapes(baseline, wrong, "tiny", [0]) is None


def test_all_three_run_at_every_point(tmp_path: Path) -> None:
    with arms(tmp_path, "", "shape", points={"small": 4, "large": 2}, units=20) as (baseline, shorter):
        found = audit(baseline, shorter, seed=1)
        assert [finding.code for finding in found if finding.code == "shape-changed"] == ["shape-changed"] * 2
        assert not [finding for finding in audit(baseline, baseline, seed=1) if finding.code != "cached-results"]


def test_slow_calls_are_looked_at_less_and_a_memory_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 10 s a call the whole audit would take a quarter of an hour, and the claim would end for want of time."""
    made: list[int] = []
    block, variants = Arm.block, Arm.variants

    def counted(arm: Arm, point: str, inputs: Sequence[int], discards: int = 0) -> Block:
        made.append(len(inputs))
        return block(arm, point, inputs, discards)

    def varied(arm: Arm, point: str, index: int, chosen: Sequence[int]) -> list[int]:
        made.append(len(chosen))
        return variants(arm, point, index, chosen)

    monkeypatch.setattr(Arm, "block", counted)
    monkeypatch.setattr(Arm, "variants", varied)
    with arms(tmp_path, "", "cache", units=100) as (baseline, cheat):
        found = audit(baseline, cheat, seed=1, calls={"tiny": SLOW})
    assert code(found[0]) == "cached-results" and sum(made) <= 16
