"""``strop diagnose``: where the time goes, in words and in JSON."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strop.diagnose.diagnosis import Bottleneck, Diagnosis
from strop.ledger.files import read_json

if TYPE_CHECKING:
    from tests.cli.conftest import Answer
    from tests.conftest import WholeRun

Cli = Callable[..., "Answer"]


def test_what_was_found_is_said_in_words_and_in_one_json_value(
    whole_run: WholeRun, strop_cli: Cli, json_value: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The diagnosis of the whole run: a network of tiny layers is limited by starting them."""
    found = Diagnosis.from_json(read_json(next((whole_run.folder / "steps").glob("*diagnosis*")))["result"])
    asked: dict[str, Any] = {}

    def stub(workload: str, **settings: Any) -> Diagnosis:
        asked.update(settings, workload=workload)
        return found

    monkeypatch.setattr("strop.api.diagnose.diagnose", stub)
    assert Diagnosis.from_json(json_value(strop_cli("diagnose", "any.py", "--json").out)) == found
    (point,) = found.points
    assert point.bottleneck is Bottleneck.OVERHEAD
    assert point.operator_calls >= 120, "40 layers of three operators"
    text = strop_cli("diagnose", "any.py", "--seed", 4).out
    assert f"batch 8: {point.bottleneck}" in text
    assert f"{point.operators[0].name}  × {point.operators[0].calls}" in text
    assert all(f"{s.number:02d} {s.name}: {s.reason}" in text for s in found.suggestions)
    assert "Worth trying:" in text
    assert (asked["workload"], asked["seed"]) == ("any.py", 4)


def test_a_workload_that_cannot_be_used_is_told_in_words(zoo: Path, strop_cli: Cli) -> None:
    for name, message in (("misfit", "the model failed on an example input"), ("raises", "planted in the function")):
        answer = strop_cli("diagnose", f"{zoo}:{name}", "--json")
        assert (answer.code, answer.out) == (2, "")
        assert message in answer.err


def test_a_model_that_dies_in_the_measured_process_is_a_failure_in_words(
    place: Path, workload_text: str, strop_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    import os

    text = workload_text.replace(
        "        return self.head(x)", "        if 'worker' in sys.argv[0]:\n            os.abort()\n        return self.head(x)"
    )
    file = place / "files" / "here" / "dying.py"
    file.parent.mkdir(parents=True)
    file.write_text(text.replace("import torch\n", "import os\nimport sys\n\nimport torch\n", 1))
    done = strop_process(["diagnose", file, "--json"], dict(os.environ))
    assert (done.returncode, done.stdout) == (1, "")
    assert "SIGABRT" in done.stderr
    assert "strop: arm 'baseline' was ended by" in done.stderr
