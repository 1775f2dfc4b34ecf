"""The page: one self-contained ``report.html`` without scripts, fonts, or anything else that would be fetched."""

from __future__ import annotations

from html import escape
from pathlib import Path

from strop.measure.result import Verdict
from strop.report import tables, words
from strop.report.markup import figure, table, typeset
from strop.report.model import RunReport
from strop.report.parts import Diagnosis
from strop.report.plots import pareto, ratios, roofline, waterfall
from strop.report.style import CSS
from strop.units import NOT_MEASURED, show_share

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content security policy: the page may use its own inline style and nothing else."""

SHOWN = 8
"""Recipes listed under "not kept" before the reader is sent to the whole table."""


def render_html(report: RunReport) -> str:
    """Return the whole page. Everything that came from outside is escaped; the same report gives the same bytes."""
    sections = [
        ("result", "Result", _result(report)),
        ("contributions", "What each part contributes", _contributions(report)),
        ("quality", "Quality", _quality(report)),
        ("footprint", "Memory, size and cold start", table(tables.footprint(report))),
        ("tradeoff", "Latency against quality", _tradeoff(report)),
        ("diagnosis", "Where the time went before", _diagnosis(report)),
        ("trials", "Everything that was tried", table(tables.trials(report.trials)) + table(tables.untried(report.untried))),
        ("cost", "What this cost", table(tables.cost(report))),
        ("trust", "How far to trust this", table(tables.trust(report))),
        ("repeat", "How to check and repeat it", _repeat(report)),
        ("environment", "Environment", table(tables.environment(report))),
    ]
    body = "".join(f'<section id="{key}"><h2>{title}</h2>{content}</section>\n' for key, title, content in sections)
    nav = "".join(f'<a href="#{key}">{title}</a> ' for key, title, _ in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.subject.name)} · strop report</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'{_header(report)}\n<nav aria-label="Contents">{nav}</nav>\n{body}{_footer(report)}</main>\n</body>\n</html>\n'
    )


def write_html(report: RunReport, path: Path) -> None:
    """Write the page to ``path`` as UTF-8."""
    path.write_text(render_html(report), encoding="utf-8")


def _header(report: RunReport) -> str:
    subject = report.subject
    when = " · ".join(part for part in (f"strop {report.version}".strip(), report.started.replace("T", " ")) if part)
    source = subject.reference or "a live object, so this run cannot be repeated from its files alone"
    aim = f"Aim: {subject.aim}" + (f"; quality may drop by {subject.max_drop}" if subject.max_drop else "")
    about = ". ".join(part for part in (subject.detail, aim, f"Workload: {source}") if part)
    return (
        f'<header><p class="kicker">{escape(when)}</p><h1>{escape(subject.name)}</h1>'
        f'<p class="headline">{typeset(words.headline(report), intervals=True)}</p>'
        f'<p class="about">{typeset(f"{about}. {words.kept_by(report)}")}</p>{_figures(report)}</header>'
    )


def _figures(report: RunReport) -> str:
    before, after, cold = report.footprint_before, report.footprint_after, report.cold_start
    whole = report.gate.over_all() if report.gate else None
    if whole is None:
        speed, rest = NOT_MEASURED, "no confirmed comparison over all operating points"
    elif whole.verdict in (Verdict.UNDECIDED, Verdict.INVALID):
        speed, rest = whole.verdict.value, "no ratio is claimed"
    else:
        speed, _, rest = words.claimed(whole).partition(" ")
        rest = f"{rest} with {100 * whole.speedup.confidence:g} % confidence: {whole.verdict.value}"
    tiles = [("Speed, against the original", speed, rest)]
    if report.quality:
        q = report.quality[0]
        value = NOT_MEASURED if q.result is None else words.number(q.result)
        tiles.append(
            (
                f"Quality: {q.metric}",
                value,
                q.note if q.result is None else f"was {words.number(q.baseline)}; quality budget {q.guard}",
            )
        )
    else:
        tiles.append(("Quality", NOT_MEASURED, ""))
    tiles.append(("Size on disk", words.size(after.disk), f"was {words.size(before.disk)}"))
    last = cold.marks[-1] if cold and cold.marks else None
    result = words.seconds(last.result if last else None)
    tiles.append(("First answer of a fresh process", result, f"was {words.seconds(last.baseline if last else None)}"))
    return f'<dl class="figures">{"".join(_tile(*tile) for tile in tiles)}</dl>'


def _tile(name: str, value: str, more: str) -> str:
    missing = " missing" if value == NOT_MEASURED else ""
    return (
        f'<div><dt>{escape(name)}</dt><dd class="value{missing}">{typeset(value)}</dd>'
        f'<dd class="more">{typeset(more if value != NOT_MEASURED else "", intervals=True)}</dd></div>'
    )


def _result(report: RunReport) -> str:
    parts = [_kept_and_not(report), table(tables.verdicts(report.gate))]
    plot = ratios.draw(report.samples, report.gate)
    caption = (
        "Each dot is one pair measured side by side. Box: the middle half, with the median. "
        "Bold bar below: the confirmed interval, where a ratio is claimed."
    )
    parts.append(figure(plot, caption, "Paired ratios"))
    for claim in report.claims:
        title = f"{claim.candidate} against {claim.against}"
        parts.append(f"<h3>{escape(title)}</h3>{table(tables.verdicts(claim, title))}")
    parts.append(f"<h3>Latency of the result</h3>{table(tables.latencies(report.result, 'Latency of the result'))}")
    return "".join(parts)


def _kept_and_not(report: RunReport) -> str:
    shares = {a.instruction: words.contribution(a) for a in report.ablation}
    kept = [f"<li>{escape(k)}<span>contribution {escape(shares.get(k, NOT_MEASURED))}</span></li>" for k in report.outcome.kept]
    lost = words.not_kept(report.trials)
    left = [f"<li>{escape(recipe)}<span>{typeset(f'{status}: {reason}')}</span></li>" for recipe, status, reason in lost[:SHOWN]]
    if len(lost) > SHOWN:
        left.append(f'<li><a href="#trials">and {len(lost) - SHOWN} more</a></li>')
    return (
        f'<div class="pair"><div><h3>Kept</h3><ul>{"".join(kept) or "<li>nothing: the original stays as it is</li>"}</ul></div>'
        f"<div><h3>Not kept, and why</h3><ul>{''.join(left) or '<li>nothing else was tried</li>'}</ul></div></div>"
    )


def _contributions(report: RunReport) -> str:
    caption = (
        "Filled: confirmed. Hollow: screen only, measured while searching. Dashed: what instructions share or lend each other. "
        "Thin lines: intervals."
    )
    return figure(waterfall.draw(report.ablation, report.gate), caption, "Waterfall") + table(tables.ablation(report))


def _quality(report: RunReport) -> str:
    told = report.time_to_target
    if told is None:
        return table(tables.quality(report))
    timed = tables.time_to_target(told)
    return f"{table(tables.quality(report))}<h3>{escape(timed.title)}</h3>{table(timed)}"


def _tradeoff(report: RunReport) -> str:
    caption = (
        "Filled square and diamond: confirmed. Hollow grey circles: screen only, not results. "
        "Dotted: the edge that no other recipe beats in both respects."
    )
    return figure(pareto.draw(report.pareto), caption, "Latency–quality plot")


def _diagnosis(report: RunReport) -> str:
    parts = [table(tables.latencies(report.baseline, "Latency of the original"))]
    caption = "Sloped: measured memory bandwidth. Level: measured compute roofs. Nothing can run above its roof."
    parts.append(figure(roofline.draw(report.host.roofs, report.roofline), caption, "Roofline"))
    parts += [_point(d) for d in report.diagnosis] or [f"<h3>Diagnosis</h3>{_missing(NOT_MEASURED)}"]
    return "".join(parts) + f"<h3>What the diagnosis suggested</h3>{table(tables.suggestions(report))}"


def _point(diagnosis: Diagnosis) -> str:
    most = max((o.share for o in diagnosis.operators), default=1.0) or 1.0
    rows = "".join(
        f'<span>{escape(o.name)}</span><i style="width:{100 * o.share / most:.1f}%" aria-hidden="true"></i>'
        f'<span class="r">{show_share(o.share)}</span>'
        for o in diagnosis.operators[:8]
    )
    bars = f'<div class="bars">{rows}</div>' if rows else _missing(f"operators: {NOT_MEASURED}")
    reason = f"<p>{typeset(diagnosis.reason)}</p>" if diagnosis.reason else ""
    return f"<h3>{escape(diagnosis.point)}: {escape(diagnosis.bottleneck)}</h3>{reason}{bars}"


def _repeat(report: RunReport) -> str:
    lines = "".join(f"<p>{escape(c.what)}</p><pre>{escape(c.line)}</pre>" for c in report.commands)
    recipe = f"<pre>{escape(report.recipe_yaml)}</pre>" if report.recipe_yaml else _missing("no recipe was kept")
    return f"{lines or _missing('commands: none recorded')}<h3>The recipe</h3>{recipe}"


def _missing(words: str) -> str:
    return f'<p class="muted">{escape(words)}</p>'


def _footer(report: RunReport) -> str:
    version = f" by strop {report.version}" if report.version else ""
    return (
        f"<footer><p>Written{escape(version)}. Results rest on the confirm phase only: fresh processes, "
        "side by side, order decided by a logged coin. “Not measured” means what it says.</p></footer>\n"
    )
