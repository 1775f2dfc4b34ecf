"""``strop verify``: a true record holds; damage is named, with exit code 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Answer
    from tests.conftest import WholeRun

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]


@pytest.fixture
def copy(whole_run: WholeRun, place: Path) -> Path:
    """A copy of the whole run, to be damaged."""
    return shutil.copytree(whole_run.folder, place / "copy")


def test_a_run_that_was_interrupted_and_resumed_holds(whole_run: WholeRun, strop_cli: Cli, json_value: Json) -> None:
    answer = strop_cli("verify", whole_run.folder)
    assert answer.code == 0
    count = int(answer.out.split(" ")[0])
    assert answer.out == f"{count} of {count} checks hold.\n"
    checks = json_value(strop_cli("verify", whole_run.folder, "--json").out)
    assert len(checks) == count > 10
    assert {check["problem"] for check in checks} == {None}
    assert {check["what"] for check in checks} >= {
        "screen verdict follows from the samples",
        "confirm verdict follows from the samples",
        "quality verdict follows from the samples",
    }


def test_verifying_needs_neither_the_model_nor_its_workload(copy: Path, strop_cli: Cli) -> None:
    for unneeded in ("materials", "answers", "logs"):
        shutil.rmtree(copy / unneeded)
    assert strop_cli("verify", copy).code == 0


@pytest.mark.parametrize("kind", ["placebo", "trial", "confirm"])
def test_one_edited_sample_is_found_and_its_file_named(kind: str, copy: Path, strop_cli: Cli, json_value: Json) -> None:
    path = next((copy / "samples").glob(f"{kind}*"))
    lines = path.read_text().splitlines()
    pair = json.loads(lines[0])
    pair["blocks"][0]["calls_ns"][0] += 1
    path.write_text("\n".join([json.dumps(pair), *lines[1:]]) + "\n")
    answer = strop_cli("verify", copy)
    assert answer.code == 1
    assert f"FAILED  samples/{path.name}: digest: {path.name} was changed after it was recorded" in answer.out
    bad = [check for check in json_value(strop_cli("verify", copy, "--json").out) if check["problem"]]
    assert {check["file"] for check in bad} == {f"samples/{path.name}"}


def damage_step(run: Path) -> str:
    path = next((run / "steps").glob("*confirm*"))
    path.write_bytes(path.read_bytes()[:-30])
    return f"steps/{path.name}"


def damage_score(run: Path) -> str:
    path = next((run / "scores").iterdir())
    row = json.loads(path.read_text())
    row["candidate"][0] = 1.0 - row["candidate"][0]
    path.write_text(json.dumps(row))
    return f"scores/{path.name}"


def shorten_scores(run: Path) -> str:
    path = next((run / "scores").iterdir())
    row = json.loads(path.read_text())
    row["candidate"].pop()
    path.write_text(json.dumps(row))
    return f"scores/{path.name}"


def empty_scores(run: Path) -> str:
    path = next((run / "scores").iterdir())
    path.write_text("[]")
    return f"scores/{path.name}"


def remove_samples(run: Path) -> str:
    path = next((run / "samples").glob("confirm*"))
    path.unlink()
    return f"samples/{path.name}"


def change_plan(run: Path) -> str:
    path = run / "plan.json"
    path.write_text(path.read_text().replace('"alpha": 0.05', '"alpha": 0.5'))
    return "plan.json"


def change_report(run: Path) -> str:
    path = run / "report.json"
    path.write_text(path.read_text().replace('"exit_code": 0', '"exit_code": 3'))
    return "report.json"


def change_bundle(run: Path) -> str:
    path = max((run / "bundle" / "artefact").iterdir(), key=lambda file: file.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return f"bundle/artefact/{path.name}"


def unfinish(run: Path) -> str:
    (run / "digests.json").unlink()
    return "digests.json"


@pytest.mark.parametrize(
    "damage",
    [
        damage_step,
        damage_score,
        shorten_scores,
        empty_scores,
        remove_samples,
        change_plan,
        change_report,
        change_bundle,
        unfinish,
    ],
    ids=lambda damage: damage.__name__,
)
def test_damage_is_found_and_its_file_named(damage: Callable[[Path], str], copy: Path, strop_cli: Cli) -> None:
    file = damage(copy)
    answer = strop_cli("verify", copy)
    assert answer.code == 1
    assert f"FAILED  {file}: " in answer.out
    assert "Traceback" not in answer.err


def test_a_listing_that_cannot_be_read_is_named(copy: Path, strop_cli: Cli) -> None:
    (copy / "digests.json").write_text("{")
    answer = strop_cli("verify", copy)
    assert answer.code == 1
    assert "digests.json cannot be read" in answer.err


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_folder_without_a_run_is_refused(name: str, place: Path, strop_cli: Cli) -> None:
    answer = strop_cli("verify", place / name)
    assert (answer.code, answer.out) == (2, "")
    assert "does not hold a run: plan.json is missing" in answer.err
