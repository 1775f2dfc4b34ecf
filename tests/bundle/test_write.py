from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from strop.bundle import read_manifest, update_manifest, write_bundle
from strop.errors import ArtefactError, RecipeError


def test_every_file_is_listed_with_its_digest(make: Callable[..., Path]) -> None:
    folder = make(recipe={"fold": {}}, tallies={"fold": {"folded": 2}})
    row = json.loads((folder / "manifest.json").read_text())
    assert set(row["files"]) == {"model.xml", "model.bin", "engine.json"}
    for name, digest in row["files"].items():
        assert hashlib.sha256((folder / "artefact" / name).read_bytes()).hexdigest() == digest
    assert row["recipe"] == {"fold": {}} and row["tallies"] == {"fold": {"folded": 2}}
    assert set(row["requires"]) == {"openvino"} and row["options"]["threads"] == 1


def test_no_artefact_no_bundle(make: Callable[..., Path], tmp_path: Path) -> None:
    signature = read_manifest(make()).signature
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match="no folder artefact/"):
        write_bundle(tmp_path / "empty", engine="openvino", signature=signature)
    with pytest.raises(RecipeError, match="no engine"):
        write_bundle(tmp_path / "empty", engine="nothing", signature=signature)


def test_measured_figures_are_added_later_and_the_rest_stays(make: Callable[..., Path]) -> None:
    folder = make()
    before = read_manifest(folder)
    update_manifest(folder, before, latency={"batch 1": {"seconds": 0.002}}, quality={"accuracy": 0.9})
    after = read_manifest(folder)
    assert after.latency == {"batch 1": {"seconds": 0.002}} and after.quality == {"accuracy": 0.9}
    assert after.files == before.files and after.signature == before.signature


def test_an_interrupted_write_leaves_the_former_manifest(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    before = (folder / "manifest.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("strop.bundle.write.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        update_manifest(folder, read_manifest(folder), quality={"accuracy": 0.5})
    assert (folder / "manifest.json").read_bytes() == before
