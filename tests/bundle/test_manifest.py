from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strop.bundle.manifest import FORMAT, Manifest, Origin
from strop.contract.draft import EngineOptions
from strop.contract.signature import Signature, TensorSpec
from strop.errors import ArtefactError

LEAF = {"kind": "leaf", "index": 0}
TREE = {"kind": "list", "children": [{"kind": "list", "children": [LEAF]}, {"kind": "dict", "keys": [], "children": []}]}


def manifest(**changes: Any) -> Manifest:
    x = TensorSpec(name="x", dtype="float32", shape=(None, 4))
    fields: dict[str, Any] = {
        "strop": "1.2.3",
        "engine": "openvino",
        "device": "cuda:1",
        "options": EngineOptions(threads=2, hints={"A": "1"}),
        "signature": Signature(inputs=(x,), input_tree=TREE, outputs=(x,), output_tree=LEAF),
        "recipe": {"static_quantization": {"smooth": 0.5}},
        "tallies": {"static_quantization": {"int8 MatMul": 3}},
        "origin": Origin(workload="a", reference="w.py:make", how="strop optimize w.py"),
        "latency": {"batch 1": {"seconds": 0.001}},
        "files": {"model.xml": "0" * 64},
    }
    return Manifest(**fields | changes)


def test_a_manifest_survives_json() -> None:
    assert Manifest.from_json(json.loads(json.dumps(manifest().to_json()))) == manifest()


@pytest.mark.parametrize("version", [FORMAT + 1, str(FORMAT), None])
def test_another_format_is_refused_with_the_version_that_wrote_it(version: Any) -> None:
    row = manifest().to_json() | {"format": version}
    with pytest.raises(ArtefactError, match=rf"format {version!r}; this strop reads format 1.*1\.2\.3"):
        Manifest.from_json(row)


def test_a_missing_field_is_named() -> None:
    row = manifest().to_json()
    del row["signature"]
    with pytest.raises(ArtefactError, match="signature"):
        Manifest.from_json(row)


def test_an_unknown_field_is_named_with_the_nearest() -> None:
    with pytest.raises(ArtefactError, match=r"unknown field 'engin'\. Did you mean 'engine'"):
        Manifest.from_json(manifest().to_json() | {"engin": "x"})


@pytest.mark.parametrize("field", ["options", "signature", "origin", "files"])
@pytest.mark.parametrize("value", [None, 3, "text", ["x"]])
def test_fields_of_the_wrong_kind_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ArtefactError):
        Manifest.from_json(manifest().to_json() | {field: value})


@pytest.mark.parametrize("row", [None, [], "text", 3])
def test_something_else_than_fields_is_refused(row: object) -> None:
    with pytest.raises(ArtefactError, match="instead of named fields"):
        Manifest.from_json(row)


def test_paths_are_not_part_of_a_manifest(tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(manifest().to_json())
