"""A load told to people: tables for the terminal and one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from strop.load.run import LoadResult
from strop.load.samples import ENDINGS, Outcome
from strop.load.summary import Percentile, Summary
from strop.report.html import POLICY
from strop.report.markup import figure, table, typeset
from strop.report.plots import goodput, latency
from strop.report.style import CSS
from strop.report.tables import Cell, Table, measured
from strop.units import NOT_MEASURED, show_bytes, show_per_second, show_seconds, show_seconds_interval, show_share

PERCENTILES = (0.5, 0.99, 0.999)


def tables_of(result: LoadResult) -> list[Table]:
    """Return what a terminal shows."""
    summaries = [run.summary for run in result.runs]
    return [rates(summaries), endings(summaries), doubts(summaries)]


def rates(summaries: Sequence[Summary]) -> Table:
    """Latency and goodput per rate; a percentile that no rate supports is left out."""
    shares = [share for share in PERCENTILES if any(s.percentile(share) for s in summaries)]
    rows = tuple(
        (
            Cell(show_per_second(s.rate)),
            Cell(show_per_second(s.throughput)),
            measured(_goodput(s)),
            *(measured(_percentile(s.percentile(share))) for share in shares),
        )
        for s in summaries
    )
    objective = summaries[0].objective
    goal = f"Goodput: answered within {show_seconds(objective)}, of all sent. " if objective else "No objective: no goodput. "
    return Table(
        title="Latency and goodput",
        columns=("Rate", "Answered", "Goodput [interval]", *(f"p{100 * share:g} [interval]" for share in shares)),
        rows=rows,
        note=goal + "Latency of the answered requests, from the scheduled time. Intervals: 95 %, over slices of time.",
    )


def endings(summaries: Sequence[Summary]) -> Table:
    """What became of every request; the ends add up to what was sent."""
    rows = []
    for s in summaries:
        cells = [Cell(str(s.account["sent"])), Cell(str(s.account[Outcome.OK.word]))]
        for outcome in ENDINGS[1:]:
            count = s.account[outcome.word]
            known = f"p99 {show_seconds(s.refusal)}" if outcome is Outcome.REFUSED and s.refusal is not None else ""
            cells.append(Cell(str(count), "bad" if count else "", known))
        codes = ", ".join(f"{code}: {count}" for code, count in s.codes.items())
        rows.append((Cell(show_per_second(s.rate)), *cells, Cell(codes)))
    names = ("sent", *(outcome.word for outcome in ENDINGS))
    return Table(
        title="What became of every request",
        columns=("Rate", *names, "status or reason"),
        rows=tuple(rows),
        right=frozenset(names),
        note="Warm-up included; one rehearsal before the load is not. Below refusals: the time until 99 % of them were known.",
    )


def doubts(summaries: Sequence[Summary]) -> Table:
    """How far to trust the numbers: the generator's own lateness, and findings."""
    rows = []
    for s in summaries:
        found = "; ".join(f"{f.message} ({f.advice})" for f in s.findings)
        lag = f"{show_seconds(s.lag[0])} / {show_seconds(s.lag[1])} / {show_seconds(s.lag[2])}"
        rows.append(
            (
                Cell(show_per_second(s.rate)),
                Cell(lag),
                Cell(show_share(s.processor)),
                Cell(found or "nothing", "bad" * bool(found)),
            )
        )
    return Table(
        title="How far to trust this",
        columns=("Rate", "Generator's lag: p50 / p99 / most", "of a core", "What speaks against it"),
        rows=tuple(rows),
    )


def settings(result: LoadResult) -> Table:
    """What was asked for."""
    plan = result.plan
    low, high = (show_bytes(size) for size in result.sizes)
    facts = {
        "Server": plan.url,
        "Posted to": result.target,
        "Arrivals": f"{plan.arrivals}, seed {plan.seed}",
        "Duration": show_seconds(plan.seconds) + (f" after {show_seconds(plan.warmup)} of warm-up" if plan.warmup else ""),
        "Requests": f"from {plan.source.name}" if plan.source else f"random, batch {plan.batch}",
        "Size of a request": low if low == high else f"{low} to {high}",
        "Client gives up after": show_seconds(plan.timeout),
    }
    return Table(title="Settings", columns=("", ""), rows=tuple((Cell(name), Cell(value)) for name, value in facts.items()))


def render_load(result: LoadResult, started: str) -> str:
    """Return the page.

    Args:
        result: the load.
        started: when it began, as text.
    """
    plan, summaries = result.plan, [run.summary for run in result.runs]
    end = plan.warmup + plan.seconds
    courses = "".join(
        f"<h3>{show_per_second(run.summary.rate)}</h3>"
        + figure(
            latency.draw_course(f"course{place}", run.samples, end, plan.objective),
            "Percentiles of the requests due in each sixtieth of the run. Red below: the share that was not answered.",
            "Latency over time",
        )
        for place, run in enumerate(result.runs)
    )
    shapes = [(run.summary.rate, run.samples) for run in result.runs]
    caption = (
        "A curve ends at the share that was answered. A curve that is still low at the objective has lost that much goodput."
    )
    rate_plot = goodput.draw(summaries)
    sections = [
        ("result", "Result", table(rates(summaries))),
        (
            "goodput",
            "Goodput per rate",
            figure(rate_plot, "Diamonds: goodput. Circles: answered at all.", "") if rate_plot else "",
        ),
        ("endings", "What became of every request", table(endings(summaries))),
        ("distribution", "Distribution", figure(latency.draw_distribution(shapes, plan.objective), caption, "Distribution")),
        ("course", "Over time", courses),
        ("trust", "How far to trust this", table(doubts(summaries))),
        ("settings", "Settings", table(settings(result))),
    ]
    body = "".join(f'<section id="{key}"><h2>{title}</h2>{content}</section>\n' for key, title, content in sections if content)
    nav = "".join(f'<a href="#{key}">{title}</a> ' for key, title, content in sections if content)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(plan.url)} · strop load</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="kicker">{escape(started)}</p><h1>{escape(plan.url)}</h1>'
        f'<p class="headline">{typeset(headline(result), intervals=True)}</p></header>\n'
        f'<nav aria-label="Contents">{nav}</nav>\n{body}</main>\n</body>\n</html>\n'
    )


def headline(result: LoadResult) -> str:
    """Return the result in one sentence."""
    best = max((run.summary for run in result.runs), key=lambda s: s.goodput.estimate * s.rate if s.goodput else s.throughput)
    p99 = best.percentile(0.99)
    tail = f", p99 {show_seconds(p99.estimate)}" if p99 else ""
    kept = (
        f"; {show_share(best.goodput.estimate)} of what was sent within {show_seconds(best.objective)}"
        if best.goodput and best.objective
        else ""
    )
    early = " (interrupted)" if result.interrupted else ""
    return f"{show_per_second(best.throughput)} answered of {show_per_second(best.rate)} scheduled{tail}{kept}{early}."


def _goodput(summary: Summary) -> str:
    g = summary.goodput
    if g is None:
        return NOT_MEASURED
    return f"{show_share(g.estimate)} [{100 * g.low:.1f}, {100 * g.high:.1f}]"


def _percentile(percentile: Percentile | None) -> str:
    if percentile is None:
        return NOT_MEASURED
    i = percentile.interval
    return show_seconds_interval(i.low, i.estimate, i.high) if i else f"{show_seconds(percentile.estimate)} (few)"
