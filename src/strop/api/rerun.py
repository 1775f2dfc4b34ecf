"""Measure a run's claim again, here and now, from nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strop.api.record import Record
from strop.api.run import open_ledger, open_session
from strop.catalogue import read_recipe
from strop.errors import RunDirectoryError, UsageError, WorkloadError
from strop.ledger.files import seal
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.confirm import rerun_interval
from strop.measure.plan import ConfirmPlan
from strop.measure.result import Comparison, Interval
from strop.observe import Observer, silent
from strop.search.request import Request
from strop.trial.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One claim, then and now.

    Attributes:
        point: operating point, or ``"all"``.
        then: the recorded comparison.
        now: the comparison of this rerun.
        expected: where the new estimate lies with 95 % if nothing changed (a prediction interval of the speed-up).
    """

    point: str
    then: Comparison
    now: Comparison
    expected: Interval

    @property
    def inside(self) -> bool:
        """Whether the new estimate lies where the old report predicts it."""
        return self.expected.low <= self.now.speedup.estimate <= self.expected.high

    @property
    def same_verdict(self) -> bool:
        """Whether both say the same."""
        return self.then.verdict is self.now.verdict


def rerun(run: str | Path, *, out: str | Path | None = None, observer: Observer = silent) -> tuple[Agreement, ...]:
    """Prepare original and result from nothing, measure them by the registered plan, and compare with the record.

    Args:
        run: the directory of a finished run that kept something.
        out: directory of the rerun; default: the first free ``<run>-rerun-N``.
        observer: told what happens.

    Returns:
        Then and now for every operating point and over all of them.

    Raises:
        UsageError: the run kept nothing, or used a live object; or the workload is not what it was.
    """
    folder = Path(run).resolve()
    if not (folder / "plan.json").exists():
        raise RunDirectoryError(f"{run} does not hold a run: plan.json is missing.")
    record = Record.read(folder)
    plan, recipe_file = record.plan, folder / "recipe.yaml"
    if plan["command"] != "optimize":
        raise UsageError(
            f"{folder} was made by strop {plan['command']}; only runs of strop optimize make a claim to measure again."
        )
    if plan.get("reference") is None:
        raise WorkloadError(f"{folder} was made from a live object, which no other process can rebuild; only files can be rerun.")
    if plan.get("trains") or plan.get("serves"):
        what = "training" if plan.get("trains") else "service"
        raise UsageError(f"{folder} is about a {what}; measure it again by strop optimize with another --seed and --out.")
    if not recipe_file.exists():
        raise UsageError(f"{folder} kept nothing, so there is no claim to measure again.")
    recipe = read_recipe(recipe_file)
    then, reference = _recorded(record, recipe.key), Reference(**plan["reference"])
    workload = reference.load()
    if reference.digest() != record.result("workload")["digest"]:
        raise UsageError(f"{reference.value} was changed since {folder} was made; start a new run by strop optimize.")
    request = replace(Request.from_json(plan["request"]), seed=plan["request"]["seed"] + 1)
    registered = ConfirmPlan.from_json(then["plan"])
    place = Path(out) if out is not None else _free(folder)
    told = {"command": "rerun", "version": plan["version"], "name": plan["name"], "request": request.to_json(), "of": folder.name}
    with (
        open_ledger(place, {**told, "reference": plan["reference"], "started": plan["started"]}, resume=False) as ledger,
        open_session(reference, request, ledger, observer, loaded=workload, fresh=True) as session,
    ):
        (result,) = session.workshop.prepare([recipe], math.inf)
        if not result.ready:
            raise UsageError(f"the recipe of {folder} can no longer be prepared: {result.preparation.reason}")
        name = f"confirm/{recipe.key}"

        def measure() -> object:
            pairs = session.bench.confirm(name, session.baseline, result, registered)
            return record_judgement(ledger, name.replace("/", "-"), registered, pairs, session.materials.points)

        now = read_comparisons(ledger.step(name, measure))
        seal(ledger.folder)
    return tuple(
        Agreement(point=p, then=old, now=now[p], expected=rerun_interval(old, registered.rounds))
        for p, old in read_comparisons(then).items()
    )


def _recorded(record: Record, key: str) -> Mapping[str, Any]:
    row = record.result(f"confirm/{key}")
    if row is None or row["confirm"] is None:
        raise UsageError(f"{record.folder} holds no confirmed claim about its recipe.")
    recorded: Mapping[str, Any] = row["confirm"]
    return recorded


def _free(folder: Path) -> Path:
    number = 1
    while (place := folder.with_name(f"{folder.name}-rerun-{number}")).exists():
        number += 1
    return place
