"""The page: one self-contained ``report.html`` without scripts, fonts, or anything else that would be fetched."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from strop.measure.result import Verdict
from strop.report import tables, words
from strop.report.model import RunReport
from strop.report.plots import pareto, ratios, roofline, waterfall
from strop.report.style import CSS
from strop.report.tables import Cell, Table
from strop.units import NOT_MEASURED, show_share

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content security policy: the page may use its own inline style and nothing else."""


def render_html(report: RunReport) -> str:
    """Return the whole page. Everything that came from outside is escaped; the same report gives the same bytes."""
    sections = [
        ("result", "Result", _result(report)),
        ("contributions", "What each part contributes", _contributions(report)),
        ("quality", "Quality", _table(tables.quality(report))),
        ("footprint", "Memory, size and cold start", _table(tables.footprint(report))),
        ("tradeoff", "Latency against quality", _tradeoff(report)),
        ("diagnosis", "Where the time went before", _diagnosis(report)),
        ("trials", "Everything that was tried", _table(tables.trials(report.trials))),
        ("cost", "What this cost", _table(tables.cost(report))),
        ("trust", "How far to trust this", _table(tables.trust(report))),
        ("repeat", "How to check and repeat it", _repeat(report)),
        ("environment", "Environment", _table(tables.environment(report))),
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
    when = " · ".join(part for part in (f"strop {report.version}".strip(), report.started) if part)
    source = subject.reference or "a live object, so this run cannot be repeated from its files alone"
    aim = f"Aim: {subject.aim}" + (f"; quality may drop by {subject.max_drop}" if subject.max_drop else "")
    about = ". ".join(part for part in (subject.detail, aim, f"Workload: {source}") if part)
    return (
        f'<header><p class="kicker">{escape(when)}</p><h1>{escape(subject.name)}</h1>'
        f'<p class="headline">{_intervals(escape(words.headline(report)))}</p>'
        f'<p class="about">{escape(about)}. {escape(words.kept_by(report))}</p>{_figures(report)}</header>'
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
            (q.metric, value, q.note if q.result is None else f"was {words.number(q.baseline)}; quality budget {q.guard}")
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
        f'<div><dt>{escape(name)}</dt><dd class="value{missing}">{escape(value)}</dd>'
        f'<dd class="more">{escape(more if value != NOT_MEASURED else "")}</dd></div>'
    )


def _result(report: RunReport) -> str:
    parts = [_kept_and_not(report), _table(tables.verdicts(report.gate))]
    plot = ratios.draw(report.samples, report.gate)
    caption = (
        "Each dot is one pair measured side by side. Box: the middle half, with the median. "
        "Bold bar below: the confirmed interval, where a ratio is claimed."
    )
    parts.append(_plot(plot, caption, "Paired ratios"))
    for claim in report.claims:
        title = f"{claim.candidate} against {claim.against}"
        parts.append(f"<h3>{escape(title)}</h3>{_table(tables.verdicts(claim, title))}")
    parts.append(f"<h3>Latency of the result</h3>{_table(tables.latencies(report.result, 'Latency of the result'))}")
    return "".join(parts)


def _kept_and_not(report: RunReport) -> str:
    shares = {a.instruction: words.speedup(a.contribution) for a in report.ablation}
    kept = [f"<li>{escape(k)}<span>contribution {escape(shares.get(k, NOT_MEASURED))}</span></li>" for k in report.outcome.kept]
    lost = words.losers(report.trials)
    not_kept = [
        f"<li>{escape(t.recipe)}<span>{escape(t.status)}{escape(': ' + t.reason if t.reason else '')}</span></li>"
        for t in lost[:8]
    ]
    if len(lost) > 8:
        not_kept.append(f'<li><a href="#trials">and {len(lost) - 8} more</a></li>')
    return (
        f'<div class="pair"><div><h3>Kept</h3><ul>{"".join(kept) or "<li>nothing: the original stays as it is</li>"}</ul></div>'
        f"<div><h3>Did not pay</h3><ul>{''.join(not_kept) or '<li>nothing else was tried</li>'}</ul></div></div>"
    )


def _contributions(report: RunReport) -> str:
    caption = "Hatched or dashed: what instructions share or lend each other. Thin lines: intervals."
    return _plot(waterfall.draw(report.ablation, report.gate), caption, "Waterfall") + _table(tables.ablation(report))


def _tradeoff(report: RunReport) -> str:
    caption = (
        "Filled square and diamond: confirmed. Hollow grey circles: screen only, not results. "
        "Dotted: the edge that no other recipe beats in both respects."
    )
    return _plot(pareto.draw(report.pareto), caption, "Latency–quality plot")


def _diagnosis(report: RunReport) -> str:
    parts = [_table(tables.latencies(report.baseline, "Latency of the original"))]
    caption = "Sloped: measured memory bandwidth. Level: measured compute roofs. Nothing can run above its roof."
    parts.append(_plot(roofline.draw(report.host.roofs, report.roofline), caption, "Roofline"))
    if not report.diagnosis:
        parts.append(f"<h3>Diagnosis</h3><p class='muted'>{NOT_MEASURED}</p>")
    for d in report.diagnosis:
        most = max((o.share for o in d.operators), default=1.0) or 1.0
        rows = "".join(
            f"<span>{escape(o.name)}</span><i style='width:{100 * o.share / most:.1f}%' aria-hidden='true'></i>"
            f"<span class='r'>{show_share(o.share)}</span>"
            for o in d.operators[:8]
        )
        reason = f" {escape(d.reason)}" if d.reason else ""
        bars = f'<div class="bars">{rows}</div>' if rows else f"<p class='muted'>operators: {NOT_MEASURED}</p>"
        parts.append(f"<h3>{escape(d.point)}: {escape(d.bottleneck)}</h3><p>{reason}</p>{bars}")
    return "".join(parts) + f"<h3>What the diagnosis suggested</h3>{_table(tables.suggestions(report))}"


def _repeat(report: RunReport) -> str:
    lines = "".join(f"<p>{escape(c.what)}</p><pre>{escape(c.line)}</pre>" for c in report.commands)
    recipe = f"<pre>{escape(report.recipe_yaml)}</pre>" if report.recipe_yaml else "<p class='muted'>no recipe was kept</p>"
    return f"{lines or f'<p class=muted>{NOT_MEASURED}</p>'}<h3>The recipe</h3>{recipe}"


def _footer(report: RunReport) -> str:
    version = f" by strop {report.version}" if report.version else ""
    return (
        f"<footer><p>Written{escape(version)}. Results rest on the confirm phase only: fresh processes, side by side, order decided "
        "by a logged coin. “Not measured” means what it says.</p></footer>\n"
    )


def _plot(drawing: str, caption: str, name: str) -> str:
    if not drawing:
        return f"<p class='muted'>{escape(name)}: {NOT_MEASURED}</p>"
    return f'<figure><div class="scroll">{drawing}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _table(table: Table) -> str:
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    if not table.rows:
        return f"<p class='muted'>{escape(table.title)}: {escape(table.empty)}</p>"
    head = ""
    if any(table.columns):
        cells = "".join(f"<th scope='col'{_class('r' if c in table.right else '')}>{escape(c)}</th>" for c in table.columns)
        head = f"<thead><tr>{cells}</tr></thead>"
    rows = "".join(f"<tr>{''.join(_cell(table, n, cell) for n, cell in enumerate(row))}</tr>" for row in table.rows)
    label = escape(table.title)
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{head}<tbody>{rows}</tbody></table></div>{note}'


def _cell(table: Table, place: int, cell: Cell) -> str:
    column = table.columns[place]
    names = [cell.tone] if cell.tone else []
    if column == "Screen only":
        names = ["screen"]
    if column == "Trial":
        names.append("id")
    names += ["r"] if column in table.right else []
    names.append("n" if len(cell.text) <= 30 and not cell.sub else "w" if len(cell.text + cell.sub) > 40 else "")
    sub = f'<span class="sub">{escape(cell.sub)}</span>' if cell.sub else ""
    element = "th scope='row'" if place == 0 else "td"
    return (
        f"<{element}{_class(*names)}>{_intervals(escape(cell.text)) if '[' in column else escape(cell.text)}{sub}</{element[:2]}>"
    )


def _class(*names: str) -> str:
    given = " ".join(n for n in names if n)
    return f' class="{given}"' if given else ""


def _intervals(escaped: str) -> str:
    """Let the bracketed interval step back behind its estimate."""
    return re.sub(r"(\[[-+0-9.∞, ]+\])", r'<span class="ci n">\1</span>', escaped)
