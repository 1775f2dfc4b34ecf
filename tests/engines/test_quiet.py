"""Importing openvino and nncf through strop reports nothing; importing them plainly would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPORTING = """
import sys, importlib.util
sent = []
spec = importlib.util.find_spec("openvino_telemetry")
import openvino_telemetry.utils.sender as sender
sender.TelemetrySender.send = lambda self, backend, message: sent.append(message)
"""


def run(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    quiet = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI")}
    home.mkdir(exist_ok=True)
    environment = quiet | {"HOME": str(home)}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)


def written(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_nothing_is_written_under_home_and_the_reporter_is_never_loaded(package: str, tmp_path: Path) -> None:
    code = f"""
import sys
from strop.engines.quiet import import_{package}
assert import_{package}().__name__ == "{package}"
loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module is not None]
assert not loaded, loaded
"""
    run(code, tmp_path / "home")
    assert written(tmp_path / "home") == []


def test_quantising_and_answering_write_nothing_under_home_either(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, torch
from strop.contract.draft import Draft, EngineOptions, Facts, Quantization
from strop.contract.quality import unjudged
from strop.contract.signature import infer_signature
from strop.contract.workload import InferenceWorkload, Split
from strop.engines import get
model = torch.nn.Linear(8, 8).eval()
data = [torch.randn(n, 8) for n in (2, 3)]
workload = InferenceWorkload(model=lambda: model, inputs={{"a": data}}, quality=unjudged("a test"),
                             calibration=Split(inputs=data))
draft = Draft(model=model, workload=workload, facts=Facts(), seed=0, examples=data, engine="openvino",
              signature=infer_signature(data, [model(x).detach() for x in data]), quantization=Quantization(mode="static"))
folder = pathlib.Path({str(tmp_path / "artefact")!r})
folder.mkdir()
get("openvino").lower(draft, folder)
get("openvino").open(folder, draft.signature, EngineOptions())(data[0])
assert draft.quantization.tally.to_json()["int8 MatMul"] == 1
assert sys.modules["openvino_telemetry"] is None
"""
    run(code, tmp_path / "home")
    assert [name for name in written(tmp_path / "home") if "intel" in name.lower() or "openvino" in name.lower()] == []


def test_a_plain_import_would_have_written_a_client_id(tmp_path: Path) -> None:
    """Shows that the tests above could fail: without the guard, an id appears. No event leaves: sending is replaced."""
    run(REPORTING + "import openvino; assert sent", tmp_path / "home")
    assert any("openvino" in name for name in written(tmp_path / "home"))


def test_a_reporter_the_program_loaded_itself_is_left_alone(tmp_path: Path) -> None:
    code = (
        REPORTING + "from strop.engines.quiet import import_openvino; import_openvino(); assert sys.modules['openvino_telemetry']"
    )
    run(code, tmp_path / "home")


def test_onnxruntime_events_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from strop.engines.quiet import import_onnxruntime

    called = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: called.append(True))
    assert import_onnxruntime() is onnxruntime and called == [True]


def test_a_process_has_one_openvino_core() -> None:
    from strop.engines.quiet import openvino_core

    assert openvino_core() is openvino_core()
