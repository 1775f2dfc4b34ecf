"""The dashboard in the form that Grafana imports: variables, and panels in their places on the grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from strop.deliverables.panels import Panel, rows
from strop.deliverables.rules import Watch

SCHEMA = 39
"""Version of Grafana's dashboard model (Grafana 11); later ones migrate it when they load it."""
WIDTH = 24
"""Columns of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard(watch: Watch, about: str = "") -> dict[str, Any]:
    """Return the dashboard as Grafana imports it.

    Args:
        watch: what it shows, and where red begins.
        about: a sentence on the bundle.
    """
    title = f"strop · {watch.model}" if watch.model else "strop serve"
    return {
        "uid": f"strop-{watch.model or 'serve'}"[:40],
        "title": title,
        "description": about,
        "tags": ["strop", "serving"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_variables(watch))},
        "panels": list(_placed(rows(watch))),
    }


def _variables(watch: Watch) -> Iterator[dict[str, Any]]:
    yield {"name": "source", "label": "Data", "type": "datasource", "query": "prometheus"}
    for name, query in (
        ("model", f"label_values({watch.of('strop_build_info')}, model)"),
        ("instance", 'label_values(strop_build_info{model=~"$model"}, instance)'),
    ):
        yield {
            "name": name, "label": name.capitalize(), "type": "query", "datasource": SOURCE, "refresh": 2,
            "query": {"query": query, "refId": name}, "includeAll": True, "multi": True, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }  # fmt: skip


def _placed(parts: dict[str, tuple[Panel, ...]]) -> Iterator[dict[str, Any]]:
    """Yield rows and panels with identifiers and places, each row below the one before."""
    number, top = 1, 0
    for title, panels in parts.items():
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }  # fmt: skip
        number, left, height = number + 1, 0, 4 if panels[0].kind == "stat" else 8
        for panel in panels:
            yield {"id": number, "gridPos": {"x": left, "y": top + 1, "w": panel.columns, "h": height}, **_drawn(panel)}
            number, left = number + 1, left + panel.columns
        top += 1 + height


def _drawn(panel: Panel) -> dict[str, Any]:
    chosen = 'model=~"$model",instance=~"$instance"'
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "thresholds": _thresholds(panel)}, "overrides": []},
        "options": {"colorMode": "value"} if panel.kind == "stat" else {},
        "targets": [
            {
                "refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression.replace("$s", chosen),
                "legendFormat": legend, "instant": panel.kind == "bargauge",
            }
            for n, (legend, expression) in enumerate(panel.curves.items())
        ],
    }  # fmt: skip


def _thresholds(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "text", "value": None}]
    if panel.red_from is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.red_from}]
    if panel.red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.red_below}]
    return {"mode": "absolute", "steps": steps}
