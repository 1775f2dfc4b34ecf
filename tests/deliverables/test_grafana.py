"""The dashboard's form. That its expressions find data is shown against a real Prometheus, in ``test_watching.py``."""

from __future__ import annotations

import itertools
import json
from typing import Any

from strop.deliverables.grafana import WIDTH, dashboard
from strop.deliverables.panels import rows
from strop.deliverables.rules import Watch

WATCH = Watch(model="", latency=0.5, utilization=0.7, backlog=10, in_time=0.99)


def drawn(watch: Watch = WATCH) -> list[dict[str, Any]]:
    return dashboard(watch)["panels"]


def test_between_twenty_and_thirty_indicators_have_a_panel() -> None:
    assert 20 <= sum(len(panels) for panels in rows(WATCH).values()) <= 30
    assert len([panel for panel in drawn() if panel["type"] != "row"]) == sum(len(panels) for panels in rows(WATCH).values())


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in drawn()}) == len(drawn())
    places = []
    for panel in drawn():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        places.append((place["x"], place["x"] + place["w"], place["y"], place["y"] + place["h"]))
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(places, 2):
        assert b <= e or f <= a or d <= g or h <= c


def test_every_row_of_panels_fills_the_grid() -> None:
    assert {sum(panel.columns for panel in panels) for panels in rows(WATCH).values()} == {WIDTH}


def test_nothing_is_left_to_be_filled_in_and_data_comes_from_the_chosen_source() -> None:
    text = json.dumps(dashboard(WATCH))
    assert "$s" not in text.replace("$source", "") and "${source}" in text
    assert all(target["refId"] for panel in drawn() for target in panel.get("targets", ()))
    assert [variable["name"] for variable in dashboard(WATCH)["templating"]["list"]] == ["source", "model", "instance"]


def test_limits_are_where_red_begins() -> None:
    steps = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for panel in drawn() if "targets" in panel}
    assert steps["99th percentile"] == [{"color": "green", "value": None}, {"color": "red", "value": 0.5}]
    assert steps["In time"] == [{"color": "red", "value": None}, {"color": "green", "value": 0.99}]
    assert steps["Processor"] == [{"color": "text", "value": None}]


def test_a_named_model_names_the_dashboard_and_limits_the_choice() -> None:
    named = dashboard(Watch(model="mine", latency=0.5, utilization=0.7, backlog=10, in_time=0.99), "Served by openvino.")
    assert (named["title"], named["uid"], named["description"]) == ("strop · mine", "strop-mine", "Served by openvino.")
    assert 'strop_build_info{model="mine"}' in named["templating"]["list"][1]["query"]["query"]
    long = dashboard(Watch(model="m" * 100, latency=0.5, utilization=0.7, backlog=10, in_time=0.99))
    assert len(long["uid"]) <= 40, "as long as Grafana takes"
