"""Fill the report from the ledger alone, so that an interrupted run and an old one are reported like any other."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strop.api.numbers import latencies, pareto, roofline
from strop.api.proof import ablation, cold_start, footprint, one_shot, quality
from strop.api.record import Record
from strop.contract.device import PROCESSOR, place
from strop.contract.recipe import Recipe
from strop.ledger.files import read_json
from strop.ledger.judgement import read_comparisons
from strop.ledger.ledger import read_pairs
from strop.measure.confirm import rerun_interval
from strop.measure.host import Host
from strop.measure.quality import QualityResult
from strop.measure.ratios import ALL, log_ratios
from strop.measure.result import Finding
from strop.report.evidence import Claim, Command, Cost, Samples
from strop.report.model import RunReport, break_even_calls
from strop.report.parts import Budget, Diagnosis, Operator, Outcome, Subject, Suggestion, Trial
from strop.search.confirm import Confirmation
from strop.trial.reference import Reference
from strop.units import show_speedup


def assemble(folder: Path, spent: float) -> RunReport:
    """Build the report of a run.

    Args:
        folder: the run directory.
        spent: seconds the run has taken.
    """
    record = Record.read(folder)
    end = record.result("end") or {
        "result": None,
        "exit_code": 130,
        "reason": "interrupted",
        "kept": [],
        "recipe": "",
        "findings": [],
        "untried": {},
    }
    confirmed = record.confirmed
    trials = [row for row in record.under("trial") if "key" in row]
    baseline, result = latencies(record, confirmed)
    held = bool(end["result"])
    return RunReport(
        subject=_subject(record),
        budget=Budget(limit=record.plan["request"]["budget"], spent=spent, steps=_spent(record)),
        outcome=Outcome(exit_code=end["exit_code"], kept=tuple(end["kept"]), reason=end["reason"]),
        host=_host(record),
        baseline=baseline,
        result=result if held else (),
        diagnosis=_diagnosis(record),
        trials=tuple(_trial(row, record, end["result"]) for row in trials),
        untried=end["untried"],
        recipe_yaml=end["recipe"],
        gate=Claim(comparisons=tuple(read_comparisons(confirmed["confirm"]).values())) if confirmed else None,
        claims=one_shot(record),
        ablation=ablation(record, end),
        quality=quality(record),
        footprint_before=footprint(confirmed, "baseline"),
        footprint_after=footprint(confirmed, "candidate"),
        cold_start=cold_start(confirmed),
        cost=_cost(baseline, result, spent) if held else None,
        error_rate=_error_rate(record),
        self_test=_self_test(folder),
        findings=_findings(record, confirmed, end),
        samples=_samples(record, confirmed),
        pareto=pareto(record, trials, baseline, confirmed),
        roofline=roofline(record, confirmed),
        environment=_environment(folder),
        commands=_commands(folder, record),
        version=record.plan["version"],
        started=record.plan["started"],
    )


def _host(record: Record) -> Host:
    path = record.folder / "host.json"
    if not path.exists():  # interrupted before the machine was read
        return Host(cpu="unknown", cores=0)
    row, roofs = read_json(path), record.result("roofs") or {}
    isa = frozenset(flag for flag in row["isa"] if flag.startswith(("avx", "amx", "fma", "neon", "asimd", "sve", "bf16")))
    return Host(
        cpu=row["cpu"],
        cores=row["cores"],
        isa=isa,
        memory_bytes=row["memory"],
        l3_bytes=row["l3"],
        accelerators=tuple(row.get("accelerators", ())),
        roofs=roofs,
    )


def _self_test(folder: Path) -> str:
    row = read_json(folder / "host.json")["selftest"] if (folder / "host.json").exists() else None
    if not row:
        return ""
    high = row["false_rate"][1]
    return (
        f"on this machine, {row['false_faster']} of {row['trials']} trials misjudged equal arms (rate below {100 * high:.1f} %)"
    )


def _subject(record: Record) -> Subject:
    plan, request = record.plan, record.plan["request"]
    path = record.folder / "materials" / "materials.json"
    about = read_json(path) if path.exists() else None
    drop = request["max_drop"]
    words = f"{100 * drop['value']:g} % of the original's value" if drop["relative"] else f"{drop['value']:g}, absolute"
    return Subject(
        name=plan["name"],
        reference=Reference(**plan["reference"]).text if plan["reference"] else None,
        detail=_size(about["facts"]) + _accelerator(record, about.get("device", PROCESSOR)) if about else "",
        aim=request["aim"],
        max_drop=words,
    )


def _size(facts: Mapping[str, Any]) -> str:
    return f"{facts['parameters'] / 1e6:.1f} M parameters, {facts['weight_bytes'] / 1e6:.0f} MB"


def _accelerator(record: Record, device: str) -> str:
    """Name the accelerator that answered; nothing where the processor did."""
    if device == PROCESSOR:
        return ""
    return f", on {read_json(record.folder / 'host.json')['accelerators'][place(device)]} ({device})"


def _spent(record: Record) -> dict[str, float]:
    spent: dict[str, float] = {}
    for key, step in record.steps.items():
        name = key.partition("/")[0]
        spent[name] = spent.get(name, 0.0) + step["seconds"]
    return {name: seconds for name, seconds in spent.items() if seconds >= 0.05}


def _trial(row: Mapping[str, Any], record: Record, result: str | None) -> Trial:
    status, reason = _fate(row, record, result) if row["status"] == "faster" else (row["status"], row["reason"])
    judged = read_comparisons(row["screen"]) if row["screen"] else {}
    screen = {point: c.speedup for point, c in judged.items() if c.pairs}  # none is left where every pair was voided
    return Trial(
        id=row["key"],
        recipe=row["text"] + ("" if row["against"] == Recipe().key else " (against the stack so far)"),
        status=status,
        instructions=tuple(row["recipe"]),
        reason=reason,
        screen=screen,
        preparation=row["seconds"] or None,
        tallies=row["preparation"]["tallies"],
        quality=QualityResult.from_json(row["quality"]["result"]).describe() if row["quality"] else "",
    )


def _fate(row: Mapping[str, Any], record: Record, result: str | None) -> tuple[str, str]:
    """Return what became of a recipe that screening found faster and sound, and why: status and reason."""
    key, claims = row["key"], record.result("registered/claims")
    if key == result:
        return "kept", row["reason"]
    if claims is None:  # trainings and services give their own account of claims
        return row["status"], row["reason"]
    claimed = Confirmation(record.result(f"quality/{key}"), record.result(f"confirm/{key}"))
    if claimed.unsound:
        return (claimed.quality.guard.value if claimed.quality else "wrong"), f"claimed, and refuted: {claimed.unsound}"
    if claimed.row is not None and claimed.problem:
        judged = claimed.comparisons
        return (judged["all"].verdict.value if judged else "failed to run"), f"claimed, and refuted: {claimed.problem}"
    tested = {name.partition("/")[2] for name in record.steps if name.startswith(("quality/", "confirm/"))}
    chance = next((claim.get("chance") for claim in claims[len(tested) :] if claim["recipe"] == key), None)
    if result is not None and chance is not None:
        return row["status"], f"not claimed: its claim would hold with a chance of {100 * chance:.0f} %, and one before it did"
    return row["status"], row["reason"]


def _cost(baseline: Any, result: Any, spent: float) -> Cost:
    after = {row.point: row.p50.estimate for row in result}
    return Cost(seconds=spent, break_even={r.point: break_even_calls(spent, r.p50.estimate, after[r.point]) for r in baseline})


def _error_rate(record: Record) -> str:
    alpha = record.plan["request"]["alpha"]
    placebo = record.result("placebo")
    said = read_comparisons(placebo["judgement"])["all"] if placebo else None
    seen = f"; the original against itself was found {said.verdict.value} in {said.pairs} pairs" if said else ""
    return f"at most {100 * alpha:g} % chance that any claim of this report is a false “faster”{seen}"


def _findings(record: Record, confirmed: Mapping[str, Any] | None, end: Mapping[str, Any]) -> tuple[Finding, ...]:
    found = [Finding(**row) for row in [*end["findings"], *(confirmed["checks"] if confirmed else ())]]
    for comparison in read_comparisons(confirmed["confirm"]).values() if confirmed else ():
        found += [f for f in comparison.findings if f not in found]
    return tuple(found)


def _samples(record: Record, confirmed: Mapping[str, Any] | None) -> tuple[Samples, ...]:
    if confirmed is None:
        return ()
    judgement = confirmed["confirm"]
    pairs = read_pairs(record.folder / judgement["samples"]["file"])
    return tuple(
        # the report draws ln(baseline / result), so that larger is faster
        Samples(point=point, log_ratios=tuple(float(-y) for y in log_ratios(pairs, point, judgement["plan"]["metric"])))
        for point in judgement["points"]
    )


def _diagnosis(record: Record) -> tuple[Diagnosis, ...]:
    return tuple(
        Diagnosis(
            point=row["point"],
            bottleneck=row["bottleneck"],
            reason=row["reason"],
            operators=tuple(Operator(**o) for o in row["operators"]),
            suggestions=tuple(Suggestion(**s) for s in row["suggestions"]),
        )
        for row in (record.result("diagnosis") or {"points": []})["points"]
    )


def _environment(folder: Path) -> dict[str, str]:
    """What decides about timings; the whole record stays in env.json."""
    if not (folder / "env.json").exists():
        return {}
    row = read_json(folder / "env.json")
    shown = {f"version of {name}": str(value) for name, value in row.get("libraries", {}).items()}
    shown |= {name: str(value) for name, value in row.get("variables", {}).items()}
    shown["python"] = str(row.get("python", {}).get("version", ""))
    shown["kernel"] = str(row.get("kernel", {}).get("release", ""))
    shown["load when the run began"] = str(row.get("load", {}).get("average", ""))
    return shown


def _commands(folder: Path, record: Record) -> tuple[Command, ...]:
    # Written as it was given, so that it can be pasted; a page to be shown around does not tell where on a disk it was made.
    run = shlex.quote(folder.name if folder.is_absolute() else str(folder))
    verify = Command(line=f"strop verify {run}", what="recompute every verdict from the raw samples")
    kept, plan, confirmed = (record.result("end") or {"result": None})["result"], record.plan, record.confirmed
    if not kept or confirmed is None or not plan["reference"] or plan.get("trains") or plan.get("serves"):
        return (verify,)
    claim = read_comparisons(confirmed["confirm"])[ALL]
    expected = rerun_interval(claim, claim.rounds)
    told = show_speedup(expected.low, expected.estimate, expected.high)
    return verify, Command(line=f"strop rerun {run}", what=f"measure the claim again; 95 of 100 reruns here should give {told}")
