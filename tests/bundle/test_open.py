from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from strop.bundle import check_files, open_bundle, read_manifest
from strop.contract.draft import EngineOptions
from strop.errors import ArtefactError

Make = Callable[..., Path]


@pytest.mark.parametrize("engine", ["eager", "onnxruntime", "openvino"])
def test_a_bundle_answers_as_the_model_did(engine: str, make: Make, model: torch.nn.Module) -> None:
    program = open_bundle(make(engine), source=(lambda: model) if engine == "eager" else None)
    x = torch.randn(5, 4)
    with torch.inference_mode():
        assert torch.allclose(program(x), model(x), atol=1e-5)
    program.close()


def test_a_bundle_may_lie_under_spaces_and_chinese_characters(make: Make, tmp_path: Path) -> None:
    for engine in ("onnxruntime", "openvino"):
        folder = make(engine, name=f"my 模型 {engine}")
        assert open_bundle(folder)(np.zeros((1, 4), np.float32)).shape == (1, 2)


def test_it_opens_and_answers_where_torch_is_never_imported(make: Make) -> None:
    code = (
        "import sys, pathlib, numpy as np; from strop.bundle import open_bundle;"
        "print(open_bundle(pathlib.Path(sys.argv[1]))(np.zeros((1, 4), np.float32)).shape);"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(make())], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 2)"


def test_an_eager_bundle_without_its_source_says_what_to_give(make: Make) -> None:
    with pytest.raises(ArtefactError, match="give the workload that builds the model"):
        open_bundle(make("eager"))


def test_given_options_win_over_the_bundles_own(make: Make) -> None:
    folder = make()
    assert open_bundle(folder)._exact._compiled.get_property("INFERENCE_NUM_THREADS") == 1  # type: ignore[attr-defined]
    program = open_bundle(folder, options=EngineOptions(hints={"NUM_STREAMS": "2"}))
    assert program._exact._compiled.get_property("NUM_STREAMS") == 2  # type: ignore[attr-defined]


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ArtefactError, match=r"is not a bundle: it has no manifest\.json"):
            read_manifest(folder)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_a_damaged_manifest_is_refused(text: str, make: Make) -> None:
    folder = make()
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged"):
        open_bundle(folder)


def test_each_damaged_file_is_named_before_anything_is_loaded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    monkeypatch.setattr("strop.engines.openvino.OpenVinoEngine.open", lambda *_: pytest.fail("a damaged bundle was loaded"))
    for path in sorted((folder / "artefact").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(ArtefactError, match=f"artefact/{path.name} is damaged"):
            open_bundle(folder)
        path.write_bytes(whole)
    check_files(folder, read_manifest(folder))


def test_a_smuggled_file_is_refused(make: Make) -> None:
    folder = make()
    (folder / "artefact" / "libevil.so").write_bytes(b"\x7fELF")
    with pytest.raises(ArtefactError, match=r"artefact/libevil\.so does not belong"):
        open_bundle(folder)


def test_an_engine_this_strop_lacks_is_an_artefact_error(make: Make) -> None:
    folder = make()
    row = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(row | {"engine": "quantum"}))
    with pytest.raises(ArtefactError, match="no engine 'quantum'"):
        open_bundle(folder)


def test_compiled_code_is_loaded_only_if_written_here_or_named(make: Make, model: torch.nn.Module, cache: Path) -> None:
    folder = make("inductor")
    x = torch.randn(3, 4)
    with torch.inference_mode():
        want = model(x)
    assert torch.allclose(open_bundle(folder)(x), want, atol=1e-5)

    shutil.rmtree(cache)
    with pytest.raises(ArtefactError, match="would run compiled code in it, and it was not written on this machine"):
        open_bundle(folder)
    assert torch.allclose(open_bundle(folder, trust=True)(x), want, atol=1e-5)


def test_compiled_code_whose_manifest_was_made_to_match_is_still_foreign(make: Make) -> None:
    import hashlib

    folder = make("inductor")
    package = folder / "artefact" / "model.pt2"
    package.write_bytes(package.read_bytes() + b"changed")
    row = json.loads((folder / "manifest.json").read_text())
    row["files"]["model.pt2"] = hashlib.sha256(package.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(row))
    with pytest.raises(ArtefactError, match="not written on this machine"):
        open_bundle(folder)


def test_a_package_that_is_none_is_refused_even_when_trusted(make: Make) -> None:
    import hashlib

    folder = make("inductor")
    (folder / "artefact" / "model.pt2").write_bytes(b"PK nothing")
    row = json.loads((folder / "manifest.json").read_text())
    row["files"]["model.pt2"] = hashlib.sha256(b"PK nothing").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(row))
    with pytest.raises(ArtefactError, match=r"model\.pt2 cannot be loaded"):
        open_bundle(folder, trust=True)


def test_a_bundle_for_a_device_that_is_not_here_is_refused_before_its_workload_is_asked(make: Make) -> None:
    folder = make("eager", device="cuda:97")
    assert read_manifest(folder).device == "cuda:97"

    def source() -> torch.nn.Module:
        raise AssertionError("nothing of the workload may run")

    with pytest.raises(ArtefactError, match=r"cuda:97 is asked for.* open it where there is one"):
        open_bundle(folder, source=source)


def test_a_manifest_from_before_there_were_devices_is_the_processors(make: Make, model: torch.nn.Module) -> None:
    folder = make("eager")
    row = json.loads((folder / "manifest.json").read_text())
    assert row.pop("device") == "cpu"
    (folder / "manifest.json").write_text(json.dumps(row))
    x = torch.ones(2, 4)
    with torch.inference_mode():
        assert torch.equal(open_bundle(folder, source=lambda: model)(x), model(x))


def test_a_device_that_is_none_is_refused(make: Make) -> None:
    with pytest.raises(ArtefactError, match="names no device that strop knows"):
        open_bundle(make("eager", device="gpu"))
