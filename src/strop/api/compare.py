"""Compare two recipes, or a recipe with the original, by one confirmed measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from strop import __version__
from strop.api.run import open_ledger, open_session, refer
from strop.catalogue import read_recipe
from strop.contract.quality import MaxDrop
from strop.contract.recipe import Recipe
from strop.contract.workload import InferenceWorkload
from strop.errors import PrepareError, RecipeError
from strop.ledger.files import seal
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import QualityResult
from strop.measure.result import Comparison
from strop.observe import Observer, silent
from strop.pipeline import legal
from strop.search.bench import Seat
from strop.search.request import Request
from strop.search.session import Session
from strop.trial.workshop import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two recipes side by side.

    Attributes:
        first: the recipe compared with.
        second: the recipe the verdicts are about.
        comparisons: per operating point, and over ``"all"``.
        quality: of the second against the first; ``None`` when the workload claims none.
    """

    first: Recipe
    second: Recipe
    comparisons: Mapping[str, Comparison]
    quality: QualityResult | None


def compare(
    workload: str | Path | InferenceWorkload,
    first: str | Path | Recipe,
    second: str | Path | Recipe,
    *,
    max_drop: str = "1%",
    rounds: int = 5,
    pairs: int = 16,
    out: str | Path | None = None,
    seed: int = 0,
    observer: Observer = silent,
    **options: str,
) -> Compared:
    """Measure ``second`` against ``first`` on fresh processes, by a plan fixed beforehand.

    Args:
        workload: a workload file, ``hf:FOLDER-OR-ID``, or a live workload.
        first: the recipe compared with; an empty recipe is the original.
        second: the recipe the verdict is about.
        max_drop: quality that ``second`` may lose against ``first``.
        rounds: fresh pairs of processes.
        pairs: pairs of blocks in each round.
        out: run directory; default ``runs/compare-<time>``.
        seed: of coins, inputs and preparations.
        observer: told what happens.
        options: for ``hf:`` workloads.

    Raises:
        PrepareError: one of the recipes cannot be prepared.
    """
    recipes = [recipe if isinstance(recipe, Recipe) else read_recipe(recipe) for recipe in (first, second)]
    plan = ConfirmPlan(rounds=rounds, pairs=pairs)
    request = Request(seed=seed, max_drop=MaxDrop.parse(max_drop))
    now = datetime.fromtimestamp(time.time()).astimezone()
    place = Path(out) if out is not None else Path("runs") / f"compare-{now:%Y%m%d-%H%M%S}"
    asked = {
        "command": "compare",
        "version": __version__,
        "request": request.to_json(),
        "recipes": [r.to_json() for r in recipes],
    }
    with (
        refer(workload, **options) as reference,
        open_ledger(place, asked, resume=False) as ledger,
        open_session(reference, request, ledger, observer) as session,
    ):
        ours, theirs = _prepared(session, recipes)
        quality = []

        def told(number: int, baseline: Seat, candidate: Seat) -> None:
            if number == 0:
                quality.append(session.examiner.examine("confirming", baseline, candidate))

        judged = ledger.step(
            "compare",
            lambda: record_judgement(
                ledger, "compare", plan, session.bench.confirm("compare", ours, theirs, plan, told), session.materials.points
            ),
        )
        record = ledger.step("quality", lambda: quality[0])
        seal(ledger.folder)
    return Compared(
        first=recipes[0],
        second=recipes[1],
        comparisons=read_comparisons(judged),
        quality=QualityResult.from_json(record["result"]) if record else None,
    )


def _prepared(session: Session, recipes: Sequence[Recipe]) -> list[Prepared]:
    """Prepare both recipes.

    Raises:
        RecipeError: one of them is illegal for this workload.
        PrepareError: one of them gave no artefact; the message says why.
    """
    for recipe in recipes:
        if problem := legal(recipe, session.workload.traits):
            raise RecipeError(f"{recipe}: {problem}.")
    both = session.workshop.prepare(recipes, math.inf)
    for prepared in both:
        if not prepared.ready:
            raise PrepareError(f"{prepared.recipe}: {prepared.preparation.outcome.value}: {prepared.preparation.reason}")
    return both
