from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from strop import catalogue
from strop.bundle import Manifest
from strop.contract.draft import EngineOptions
from strop.contract.instruction import Bundle
from strop.contract.settings import decode
from strop.contract.signature import Signature
from strop.deliverables.deployment.i51_performance_dashboard import PerformanceDashboard
from strop.errors import ArtefactError, RecipeError, UsageError
from strop.testing.deliverable_laws import DeliverableLaws
from tests.deliverables.conftest import Promtool

LEAF = {"kind": "leaf", "index": 0}


@dataclass(frozen=True)
class Stored:
    """A bundle on disk."""

    folder: Path


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with nothing but what it says about itself."""
    signature = Signature(inputs=(), input_tree=LEAF, outputs=(), output_tree=LEAF)
    latency = {"batch 1": {"seconds": 0.0042, "rows": 1}, "odd": {"median": 1.0}}
    manifest = Manifest(strop="0.1.0", engine="openvino", options=EngineOptions(), signature=signature, latency=latency)
    folder = tmp_path / "mini lm 模型 v2"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()), encoding="utf-8")
    return Stored(folder)


class TestPerformanceDashboard(DeliverableLaws):
    deliverable = PerformanceDashboard(latency=0.2, backlog=50, utilization=0.5, target="[::1]:9", scrape_interval=5)


def test_the_catalogue_has_it_as_built() -> None:
    assert catalogue.get(51) is catalogue.get("dashboard") is PerformanceDashboard
    with pytest.raises(RecipeError, match="a recipe cannot hold it"):
        catalogue.read_recipe("strop: 1\ninstructions: {performance_dashboard: {}}\n")


def test_a_bundle_names_model_engine_and_measured_times(bundle: Bundle) -> None:
    files = PerformanceDashboard().render(bundle)
    board, rules = json.loads(files["dashboard.json"]), files["rules.yml"].decode()
    assert board["title"] == "strop · mini-lm-v2"
    assert board["description"] == "Served by openvino. Measured when the bundle was made: batch 1 4.20 ms."
    assert 'inference_latency_seconds{model="mini-lm-v2"} > 0.5' in rules
    assert 'model="other"' in PerformanceDashboard(model="other").render(bundle)["rules.yml"].decode()


def test_settings_reach_the_files(bundle: Bundle) -> None:
    wanted = PerformanceDashboard(latency=0.25, backlog=77, utilization=0.35, target="localhost:99", scrape_interval=7)
    files = wanted.render(bundle)
    alerts = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(files["rules.yml"])["groups"][1]["rules"]}
    assert alerts["HighInferenceLatency"].endswith("> 0.25") and alerts["HighBacklog"].endswith(">= 77")
    assert "< 0.35" in alerts["LowUtilization"]
    scrape = yaml.safe_load(files["prometheus.yml"])
    assert scrape["global"]["scrape_interval"] == "7s"
    assert scrape["scrape_configs"][0]["static_configs"] == [{"targets": ["localhost:99"]}]


def test_what_is_written_is_what_promtool_proves(bundle: Bundle, tmp_path: Path, promtool: Promtool) -> None:
    for name, content in PerformanceDashboard(latency=0.125).render(bundle).items():
        (tmp_path / name).write_bytes(content)
    done = promtool("test", "rules", tmp_path / "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scrape_interval": 60}, "between 1 and 30 seconds, got 60"),
        ({"latency": 0.0}, "must be positive"),
        ({"backlog": 0}, "must be positive"),
        ({"utilization": 70.0}, "a share between 0 and 1, got 70"),
        ({"in_time": 1.0}, "at least 0.95 and below 1, got 1"),
        ({"in_time": 0.9}, "at least 0.95 and below 1, got 0.9"),
        ({"target": "somewhere"}, "an address such as"),
        ({"target": "a:1\nb: c"}, "an address such as"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PerformanceDashboard(**settings)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=words.partition(",")[0]):
        decode(PerformanceDashboard, settings)


def test_a_name_that_would_break_a_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="a model's name is made of"):
        PerformanceDashboard(model='a"} or vector(1) #')


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a bundle"):
        PerformanceDashboard().render(Stored(tmp_path))
