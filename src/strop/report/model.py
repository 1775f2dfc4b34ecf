"""What a report needs to know about one run. Plain frozen data, to and from JSON.

Whatever a run did not measure is ``None`` or an empty tuple, and every renderer says "not measured" in words.
Times are seconds, sizes bytes, shares and rates fractions of one, speed-ups baseline time / result time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from strop.errors import LedgerError, MeasureError, did_you_mean
from strop.measure.host import Host
from strop.measure.result import Finding
from strop.report.codec import decode, encode
from strop.report.evidence import (
    GUARDS,
    Ablation,
    Claim,
    ColdStart,
    Command,
    Cost,
    Footprint,
    QualityCheck,
    Samples,
    TimeToTarget,
)
from strop.report.parts import STATUSES, Budget, Diagnosis, Latency, Outcome, Pareto, RooflinePoint, Subject, Trial
from strop.units import Seconds

SCHEMA = 1
"""Version of the JSON form; a reader refuses any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything that is printed about one run.

    Attributes:
        subject: the workload.
        budget: time allowed and used.
        outcome: how it ended.
        host: the machine; its ``roofs`` draw the roofline plot.
        baseline: latency of the original per operating point.
        result: latency of the result per operating point, from the confirm phase.
        diagnosis: per operating point.
        trials: in the order they were tried.
        untried: recipe → why it was not measured.
        recipe_yaml: the composed recipe; empty: none.
        gate: result against original, confirm phase only.
        claims: further confirmed comparisons, for instance against the best one-shot recipe.
        ablation: contribution of each instruction.
        quality: confirm-phase quality checks.
        time_to_target: of whole trainings; ``None``: none were judged.
        footprint_before: sizes of the original.
        footprint_after: sizes of the result.
        cold_start: fresh starts.
        cost: price of the search.
        error_rate: one line: the chance of a false "faster" in this report, placebos included.
        self_test: one line: what the instrument's own test said; empty: not run.
        findings: doubts.
        samples: for the distribution plots.
        pareto: latency–quality plane.
        roofline: places under the roof.
        environment: name → value.
        commands: how to check and repeat this.
        version: version of strop.
        started: local time with offset, ISO 8601.
        schema: version of this form.

    Raises:
        MeasureError: a number is NaN, a status or guard is not one of the known words, or a screening comparison
            stands where only confirmed ones may.
    """

    subject: Subject
    budget: Budget
    outcome: Outcome
    host: Host
    baseline: tuple[Latency, ...] = ()
    result: tuple[Latency, ...] = ()
    diagnosis: tuple[Diagnosis, ...] = ()
    trials: tuple[Trial, ...] = ()
    untried: Mapping[str, str] = field(default_factory=dict)
    recipe_yaml: str = ""
    gate: Claim | None = None
    claims: tuple[Claim, ...] = ()
    ablation: tuple[Ablation, ...] = ()
    quality: tuple[QualityCheck, ...] = ()
    time_to_target: TimeToTarget | None = None
    footprint_before: Footprint = field(default_factory=Footprint)
    footprint_after: Footprint = field(default_factory=Footprint)
    cold_start: ColdStart | None = None
    cost: Cost | None = None
    error_rate: str = ""
    self_test: str = ""
    findings: tuple[Finding, ...] = ()
    samples: tuple[Samples, ...] = ()
    pareto: Pareto | None = None
    roofline: tuple[RooflinePoint, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    version: str = ""
    started: str = ""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        encode(self)
        for trial in self.trials:
            if trial.status not in STATUSES:
                raise MeasureError(f"trial {trial.id} has the status {trial.status!r}.{did_you_mean(trial.status, STATUSES)}")
        for check in self.quality:
            if check.guard not in GUARDS:
                raise MeasureError(f"quality {check.metric!r}: guard {check.guard!r}.{did_you_mean(check.guard, GUARDS)}")
        for claim in (*((self.gate,) if self.gate else ()), *self.claims):
            for comparison in claim.comparisons:
                if comparison.phase != "confirm":
                    raise MeasureError(
                        f"the claim {claim.candidate} against {claim.against} at {comparison.point!r} is from phase "
                        f"{comparison.phase!r}; only confirmed comparisons are results. Put it into Trial.screen."
                    )

    def to_json(self) -> dict[str, Any]:
        """Return a strict-JSON-able form; :meth:`from_json` inverts it."""
        plain: dict[str, Any] = encode(self)
        return plain

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> RunReport:
        """Rebuild a report from :meth:`to_json`.

        Raises:
            LedgerError: the record is damaged or of another version.
        """
        if row.get("schema", SCHEMA) != SCHEMA:
            raise LedgerError(f"the report has schema {row['schema']!r}; this version of strop reads schema {SCHEMA}.")
        report: RunReport = decode(cls, json.loads(json.dumps(row)))
        return report


def break_even_calls(seconds: Seconds, before: Seconds, after: Seconds) -> int | None:
    """Return after how many calls ``seconds`` of optimising are earned back; ``None`` when a call became no faster."""
    return int(-(-seconds // (before - after))) if after < before else None
