"""The tables of a report as data, written once and drawn by the page and by the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from strop.measure.result import Verdict
from strop.report import words
from strop.report.evidence import Ablation, Claim, QualityCheck, TimeToTarget
from strop.report.model import RunReport
from strop.report.parts import Latency, Trial
from strop.units import NOT_MEASURED, Seconds, show_rate, show_seconds, show_share

GOOD = frozenset({*words.WON, "held"})
BAD = frozenset({"slower", "wrong", "worse quality", "failed to prepare", "failed to run", "invalid", "broken"})
MARKS = {"kept": "●", "held": "✓", "broken": "✗", "planned": "·", "undecided": "?", "unproven quality": "?", "unproven": "?"}
"""A sign before a status word, so that its meaning never rests on colour."""

LEAST_SHOWN: Seconds = 0.05
"""Time between the steps below which the parts add up to the whole as they are."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        tone: ``""``, ``"good"``, ``"bad"``, ``"muted"``, or ``"screen"`` for a number that is no result.
        sub: a second, smaller line.
    """

    text: str
    tone: str = ""
    sub: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under ``columns``; those named in ``right`` are aligned right. Without rows, ``empty`` is shown."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[str] = frozenset()
    note: str = ""
    empty: str = NOT_MEASURED


def status(word: str) -> Cell:
    """Return a status with its mark and tone."""
    tone = "good" if word in GOOD else "bad" if word in BAD else "muted"
    mark = MARKS.get(word, "✓" if tone == "good" else "✗" if tone == "bad" else "–")
    return Cell(f"{mark} {word}", tone)


def measured(text: str, sub: str = "") -> Cell:
    """Return a cell that is greyed when it says "not measured"."""
    return Cell(text, "muted" if text == NOT_MEASURED else "", sub)


def verdicts(claim: Claim | None, title: str = "Result per operating point") -> Table:
    """One row per operating point of a confirmed claim, the row over all points last."""
    rows = []
    if claim is not None:
        for c in (*claim.per_point(), *(c for c in claim.comparisons if c.point == "all")):
            word = status("faster" if c.verdict is Verdict.FASTER else c.verdict.value)
            ratio = Cell(words.claimed(c), "" if c.verdict not in (Verdict.UNDECIDED, Verdict.INVALID) else "muted")
            proof = f"{c.pairs} pairs, {c.rounds} fresh rounds"
            rows.append((Cell(words.POINT_OF.get(c.point, c.point)), word, ratio, Cell(proof), Cell(f"{c.alpha:g}")))
    return Table(
        title=title,
        columns=("Operating point", "Verdict", "Speed-up [interval]", "Rests on", "α"),
        rows=tuple(rows),
        right=frozenset({"α"}),
        note=_claim_note(claim),
    )


def _claim_note(claim: Claim | None) -> str:
    if claim is None or not claim.comparisons:
        return ""
    first = claim.comparisons[0]
    return (
        f"{claim.candidate} against {claim.against}, measured side by side on fresh processes; intervals hold with "
        f"{100 * first.speedup.confidence:g} % confidence. Smallest worthwhile gain: {100 * first.delta:g} %."
    )


def latencies(rows: tuple[Latency, ...], title: str) -> Table:
    """Medians, tails and rates per operating point."""
    return Table(
        title=title,
        columns=("Operating point", "Median [interval]", "90 %", "99 %", "Rate"),
        rows=tuple(
            (
                Cell(row.point),
                measured(words.median(row.p50)),
                measured(words.tail(row.p90)),
                measured(words.tail(row.p99)),
                measured(NOT_MEASURED if row.calls_per_second is None else show_rate(row.calls_per_second, "calls/s")),
            )
            for row in rows
        ),
        right=frozenset({"Median [interval]", "90 %", "99 %", "Rate"}),
        note="After a percentile: the latency it stays below by LoadGen's early-stopping rule; no bound: too few calls.",
    )


def diagnosis(report: RunReport) -> Table:
    """Bottleneck and largest operators per operating point."""
    return Table(
        title="Diagnosis",
        columns=("Operating point", "Bottleneck", "Where the time goes"),
        rows=tuple(
            (
                Cell(d.point),
                Cell(d.bottleneck, sub=d.reason),
                measured(" · ".join(f"{o.name} {show_share(o.share)}" for o in d.operators[:6]) or NOT_MEASURED),
            )
            for d in report.diagnosis
        ),
    )


def suggestions(report: RunReport) -> Table:
    """What the diagnosis speaks for, each instruction once per reason."""
    seen = dict.fromkeys((s.instruction, s.reason) for d in report.diagnosis for s in d.suggestions)
    return Table(
        title="What the diagnosis suggests",
        columns=("Instruction", "Because"),
        rows=tuple((Cell(instruction), Cell(reason)) for instruction, reason in seen),
        empty="nothing suggested",
    )


def trials(rows: Iterable[Trial]) -> Table:
    """Every trial with its status; the screening ratios are greyed and named so."""
    return Table(
        title="Trials",
        columns=("Trial", "Recipe", "Status", "Screen only", "Changed"),
        rows=tuple(
            (
                Cell(t.id),
                Cell(t.recipe, sub=_seen(t)),
                Cell(status(t.status).text, status(t.status).tone, t.reason),
                Cell(_screened(t), "screen", _other_points(t)),
                measured(_tallies(t), f"prepared in {words.seconds(t.preparation)}" if t.preparation else ""),
            )
            for t in rows
        ),
        note="Screening only chooses what is confirmed; its ratios flatter the winners and are not results.",
        empty="no recipe was tried",
    )


def untried(recipes: Mapping[str, str]) -> Table:
    """What was not measured, and why."""
    return Table(
        title="Not measured",
        columns=("Recipe", "Because"),
        rows=tuple((Cell(recipe), Cell(reason)) for recipe, reason in recipes.items()),
        empty="everything that promised something was tried",
    )


def _seen(trial: Trial) -> str:
    return f"quality: {trial.quality}" if trial.quality else ""


def _screened(trial: Trial) -> str:
    if not trial.screen:
        return NOT_MEASURED
    return words.speedup(trial.screen.get("all") or next(iter(trial.screen.values())))


def _other_points(trial: Trial) -> str:
    points = {p: i for p, i in trial.screen.items() if p != "all"}
    if not points or (len(trial.screen) == 1 and "all" not in trial.screen):
        return ", ".join(points)
    return " · ".join(f"{p} ×{i.estimate:.2f}".replace(" ", "\u00a0") for p, i in points.items())


def _tallies(trial: Trial) -> str:
    if not trial.tallies:
        return NOT_MEASURED
    counts = [f"{what}: {count}" for kinds in trial.tallies.values() for what, count in kinds.items() if count]
    return "; ".join(counts) or "nothing"


def ablation(report: RunReport) -> Table:
    """What each instruction of the final recipe contributes."""
    return Table(
        title="Contributions",
        columns=("Instruction", "Contribution [interval]", "Verdict", "Why"),
        rows=tuple(
            (
                Cell(a.instruction),
                _contribution(a),
                status(a.verdict) if a.verdict else measured(NOT_MEASURED),
                Cell(a.reason),
            )
            for a in report.ablation
        ),
        note="Time without the instruction / time with it, everything else in place.",
    )


def _contribution(row: Ablation) -> Cell:
    text = words.contribution(row)
    return measured(text) if row.confirmed or row.contribution is None else Cell(text, "screen")


def quality(report: RunReport) -> Table:
    """Quality before and after, with the test behind the guard's word."""
    return Table(
        title="Quality",
        columns=(
            "Metric",
            "Original",
            "Result",
            "Difference [interval]",
            "Allowed loss",
            "Guard",
            "Evaluated on",
            "Answers differ",
        ),
        rows=tuple(_quality(check) for check in report.quality),
        right=frozenset({"Original", "Result", "Difference [interval]", "Allowed loss", "Answers differ"}),
        note="Both arms answered the same held-out examples, which the search never saw.",
    )


def _quality(q: QualityCheck) -> tuple[Cell, ...]:
    needed = f"about {q.needed} examples would decide" if q.needed is not None else ""
    guard = status(q.guard) if q.guard != NOT_MEASURED else measured(NOT_MEASURED)
    return (
        Cell(q.metric, sub="higher is better" if q.higher_is_better else "lower is better"),
        measured(words.number(q.baseline)),
        measured(words.number(q.result)),
        measured(words.signed(q.difference)),
        measured(words.number(q.margin)),
        Cell(guard.text, guard.tone, "; ".join(part for part in (q.test, q.note, needed) if part)),
        measured(
            NOT_MEASURED if q.examples is None else f"{q.examples} examples",
            f"from {q.clusters} sources" if q.clusters is not None else "",
        ),
        measured(NOT_MEASURED if q.discordance is None else show_share(q.discordance)),
    )


def time_to_target(told: TimeToTarget) -> Table:
    """When whole trainings got as far as the plain one ends, seed by seed."""
    there = sum(row.result_seconds is not None for row in told.seeds)
    sum_up = f"The result is there {words.speedup(told.sooner)} sooner" if told.sooner else "No mean"
    return Table(
        title=f"Time to {told.what}",
        columns=("Seed", "Target", "Original", "Result"),
        rows=tuple(
            (
                Cell(str(number + 1)),
                Cell(words.number(row.target)),
                Cell(words.seconds(row.baseline_seconds), sub=f"{row.baseline_steps} steps"),
                Cell("not reached", "bad")
                if row.result_seconds is None
                else Cell(words.seconds(row.result_seconds), sub=f"{row.result_steps} steps"),
            )
            for number, row in enumerate(told.seeds)
        ),
        right=frozenset({"Target", "Original", "Result"}),
        note=f"{sum_up}; it reached the target from {there} of {len(told.seeds)} seeds. Time in steps, until the first of "
        f"{told.looks} looks that finds it reached.",
    )


def footprint(report: RunReport) -> Table:
    """Memory, size on disk and time to the first answer, for both arms."""
    before, after = report.footprint_before, report.footprint_after
    rows: list[tuple[Cell, ...]] = [
        (Cell(name), measured(words.size(b)), measured(words.size(a)), measured(words.factor(b, a)))
        for name, b, a in (
            ("Peak memory of the process", before.process_peak, after.process_peak),
            ("Peak memory of tensors", before.tensor_peak, after.tensor_peak),
            ("Size on disk", before.disk, after.disk),
        )
    ]
    cold = report.cold_start
    for mark in cold.marks if cold else ():
        name = f"Fresh process to {mark.name}"
        both = measured(words.factor(mark.baseline, mark.result).replace("smaller", "sooner").replace("larger", "later"))
        rows.append((Cell(name), measured(words.seconds(mark.baseline)), measured(words.seconds(mark.result)), both))
    if cold is None:
        rows.append((Cell("Fresh process to first answer"), *(measured(NOT_MEASURED) for _ in range(3))))
    note = f"Fresh processes: {cold.starts} starts per arm, {cold.condition}." if cold else ""
    if after.note:
        note += f" {after.note[:1].upper()}{after.note[1:]}."
    if cold and cold.speedup:
        note += f" First answer, paired: {words.speedup(cold.speedup)}."
    return Table(
        title="Memory, size and cold start",
        columns=("", "Original", "Result", "Change"),
        rows=tuple(rows),
        right=frozenset({"Original", "Result"}),
        note=note,
    )


def cost(report: RunReport) -> Table:
    """Where the time of the run went, and when it is earned back."""
    rows = [(Cell(step), Cell(show_seconds(spent))) for step, spent in report.budget.steps.items()]
    between = report.budget.spent - sum(report.budget.steps.values())
    if report.budget.steps and between >= LEAST_SHOWN:
        rows.append((Cell("between the steps: preparing recipes, starting processes"), Cell(show_seconds(between))))
    rows.append((Cell("whole run"), Cell(show_seconds(report.budget.spent))))
    if report.cost is None:
        rows.append((Cell("earned back"), measured(NOT_MEASURED)))
    else:
        rows.append((Cell("cost of optimising"), Cell(show_seconds(report.cost.seconds))))
        for point, calls in report.cost.break_even.items():
            rows.append((Cell(f"earned back at {point}"), Cell("never" if calls is None else f"after {calls:,} calls")))
    return Table(title="Cost", columns=("Step", "Time"), rows=tuple(rows), right=frozenset({"Time"}), note=words.kept_by(report))


def trust(report: RunReport) -> Table:
    """The chance of a false claim, the instrument's own test, and doubts."""
    rows = [
        (Cell("Chance of a false “faster”"), measured(report.error_rate or NOT_MEASURED)),
        (Cell("Self-test of the instrument"), measured(report.self_test or NOT_MEASURED)),
    ]
    rows += [(Cell(f"Doubt: {f.code}"), Cell(f.message, sub=f.advice)) for f in report.findings]
    if not report.findings:
        rows.append((Cell("Doubts"), Cell("none")))
    return Table(title="How far to trust this", columns=("", ""), rows=tuple(rows))


def environment(report: RunReport) -> Table:
    """The machine with its measured roofs, then the recorded environment."""
    host = report.host
    rows = [
        ("processor", host.cpu),
        ("cores", str(host.cores)),
        ("instruction sets", " ".join(sorted(host.isa)) or NOT_MEASURED),
        ("memory", words.size(host.memory_bytes or None)),
        ("last-level cache", words.size(host.l3_bytes or None)),
        ("accelerators", ", ".join(host.accelerators) or "none"),
    ]
    for name, roof in host.roofs.items():
        text = show_rate(roof, "FLOP/s" if name.startswith("gemm") else "B/s")
        rows.append((f"measured roof: {name.replace('_', ' ')}", text))
    if not host.roofs:
        rows.append(("measured roofs", NOT_MEASURED))
    rows += list(report.environment.items())
    return Table(title="Environment", columns=("", ""), rows=tuple((Cell(a), measured(b)) for a, b in rows))
