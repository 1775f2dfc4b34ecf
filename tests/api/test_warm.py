"""What a bundle knows of its own speed, and opening it ready."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import strop
from strop.api.warm import open_warm, record_latency
from strop.bundle import read_manifest, update_manifest
from strop.errors import ArtefactError
from strop.observe import Event
from strop.serve.latency import Seed
from strop.serve.warm import recorded_seeds
from tests.api.test_serve import ENGINE, doubled


def test_a_new_bundle_knows_how_long_its_batches_take_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = strop.apply(ENGINE, doubled(2, 3), out=place / "bundle")
    assert read_manifest(place / "bundle") == manifest
    seeds = recorded_seeds(manifest.latency)
    assert 1 in {seed.rows for seed in seeds}

    def found() -> list[Seed]:
        opened = open_warm(str(place / "bundle"), 64, None, False)
        opened.program.close()
        return list(opened.seeds)

    assert found() == seeds, "nothing is measured again on the machine that wrote it"
    with pytest.raises(ArtefactError, match="another one than is served; load it"):
        open_warm(str(place / "bundle"), 64, None, False, {**manifest.files, "model.xml": "0"})
    monkeypatch.setenv("STROP_CACHE", str(place / "elsewhere"))
    assert found() != seeds, "times of another machine are not believed"


def test_a_bundle_that_is_rebuilt_in_code_is_left_as_it_is(place: Path) -> None:
    manifest = strop.apply("strop: 1\ninstructions: {}\n", doubled(2, 3), out=place / "bundle")
    assert manifest.engine == "eager"
    assert record_latency(place / "bundle") == manifest
    assert manifest.latency == {}


def test_what_cannot_be_timed_is_told_and_the_bundle_stays(double_bundle: Path, place: Path) -> None:
    bundle = shutil.copytree(double_bundle, place / "bundle")
    update_manifest(bundle, read_manifest(bundle), latency={})
    told: list[Event] = []
    assert record_latency(bundle, 1e-3, told.append).latency == {}
    (bundle / "artefact" / "model.xml").write_text("broken")
    assert record_latency(bundle, observer=told.append).latency == {}
    assert [event.name for event in told] == ["bundle.untimed"] * 2
    assert "took too long" in told[0].text and "model.xml is damaged" in told[1].text
