"""How long the whole trainings of a claim took to get as far as the plain ones ended, from the ledger alone."""

from __future__ import annotations

from strop.api.record import Record
from strop.contract.quality import MaxDrop
from strop.contract.recipe import Recipe
from strop.measure.reach import Look, Reached, reached, times_sooner
from strop.report.evidence import SeedTime, TimeToTarget
from strop.search.tuning import course_key


def time_to_target(record: Record) -> TimeToTarget | None:
    """Return what the looks at both arms' whole trainings say; ``None`` where none were judged.

    The target is the metric that the plain training of the same seed ends with, less the loss that is allowed, on the
    screening split. A workload without one is looked at by its training loss, which must be reached in full.
    """
    judged = record.result(f"quality/{record.claimed}")
    if judged is None or "settings" not in judged:
        return None
    settings, drop = judged["settings"], MaxDrop(**record.plan["request"]["max_drop"])
    seeds = range(judged["result"]["n"])
    arms = [[_looks(record, key, number) for number in seeds] for key in (Recipe().key, record.claimed or "")]
    pairs: list[Reached] = []
    for plain, result in zip(*arms, strict=True):
        margin = drop.margin(plain[-1].metric or 0.0)
        pairs.append(reached(plain, result, margin=margin, higher_is_better=settings["higher_is_better"]))
    by_metric = arms[0][0][-1].metric is not None
    what = f"{settings['metric']} on the screening split" if by_metric else "the plain training's last loss"
    return TimeToTarget(what=what, looks=len(arms[0][0]), seeds=tuple(map(_seed, pairs)), sooner=times_sooner(pairs))


def _looks(record: Record, recipe: str, number: int) -> list[Look]:
    return [Look.from_json(row) for row in record.result(course_key(recipe, number))["looks"]]


def _seed(one: Reached) -> SeedTime:
    there = one.candidate
    return SeedTime(
        target=one.target,
        baseline_seconds=one.baseline.seconds,
        baseline_steps=one.baseline.step,
        result_seconds=there.seconds if there else None,
        result_steps=there.step if there else None,
    )
