"""``optimize`` of a serving workload, in real processes and over real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import strop
from strop.api.run import open_ledger
from strop.api.serve import settled
from strop.api.stage import assemble_staging, end_staging, open_staging
from strop.contract.card import Aim
from strop.contract.service import Service
from strop.errors import RecipeError, UsageError, WorkloadError
from strop.ledger.verify import verify_ledger
from strop.observe import silent
from strop.report.html import render_html
from strop.report.text import render_summary
from strop.search.goodput import improve
from strop.search.request import Request
from tests.search.test_goodput import World, batching

Process = Callable[..., subprocess.CompletedProcess[str]]
PLANTED = Path(__file__).resolve().parents[1] / "planted_server.py"
ROW = np.ones((1, 4), dtype=np.float32)

FILE = """
import numpy as np
import strop

def workload():
    return strop.ServingWorkload(
        bundle={bundle!r}, objective="{objective}", rate="{rate}", inputs=[np.ones((1, 4), dtype=np.float32)], seconds=0.3
    )
"""


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "STROP_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}


def served(place: Path, bundle: Path, objective: str = "50ms", rate: str = "20/s") -> Path:
    file = place / "serve it.py"
    file.write_text(FILE.format(bundle=str(bundle), objective=objective, rate=rate))
    return file


def test_requests_that_hardly_meet_end_the_run_with_a_reason(double_bundle: Path, strop_process: Process, tmp_path: Path) -> None:
    file, run = served(tmp_path, double_bundle), tmp_path / "run"
    asked = ["optimize", file, "--aim", "goodput", "--out", run]
    answer = strop_process([*asked, "--json"], environment(tmp_path))
    assert answer.returncode == 3, answer.stderr
    report = json.loads(answer.stdout)
    (trial,) = report["trials"]
    assert trial["status"] == "declined" and "arrive while another is being answered" in trial["reason"]
    assert report["subject"]["aim"] == "goodput" and "20/s, poisson" in report["subject"]["detail"]
    assert all(check.problem is None for check in verify_ledger(run)), "sealed"
    again = strop_process([*asked, "--resume", "--json"], environment(tmp_path))
    assert again.returncode == 3 and json.loads(again.stdout)["trials"] == report["trials"]
    with pytest.raises(UsageError, match="is about a service; measure it again by strop optimize"):
        strop.rerun(run)


def test_an_objective_shorter_than_a_call_is_told_in_the_server_s_words(double_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one call takes .* longer than the objective of .* Give a longer --objective"):
        strop.optimize(served(tmp_path, double_bundle, objective="0.0001ms"), aim="goodput", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"aim": "latency"}, "aim 'latency' cannot be asked of a strop.ServingWorkload; ask for goodput"),
        ({"aim": "goodput", "exact": True}, "needs more rounds than are measured of a training or a service"),
    ],
)
def test_what_cannot_be_asked_leaves_no_run_behind(
    settings: dict[str, Any], words: str, double_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        strop.optimize(served(tmp_path, double_bundle), out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_other_commands_name_the_one_that_takes_it(double_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"It is for: strop optimize --aim goodput serve it.py"):
        strop.diagnose(served(tmp_path, double_bundle))


def test_a_bundle_that_changed_is_not_gone_on_with(double_bundle: Path, tmp_path: Path) -> None:
    import shutil

    bundle = tmp_path / "b"
    shutil.copytree(double_bundle, bundle)
    workload, request = strop.ServingWorkload(bundle=bundle, inputs=[ROW]), Request(aim=Aim.GOODPUT)
    with open_ledger(tmp_path / "run", {"command": "optimize"}, resume=False) as ledger:
        with open_staging(workload, request, ledger, silent):
            pass
        manifest = bundle / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")
        with pytest.raises(UsageError, match="was changed since this run began"), open_staging(workload, request, ledger, silent):
            pass


def test_a_recipe_says_how_to_serve_or_is_refused(tmp_path: Path) -> None:
    service = settled("strop: 1\ninstructions: {dynamic_batching: {max_batch_size: 16}}\n", tmp_path, Service())
    assert (service.first_rows, service.max_rows, service.objective) == (16, 64, 0.05)
    assert settled("strop: 1\ninstructions: {dynamic_batching: {}}\n", tmp_path, Service(objective=1.0)).objective == 1.0
    for text, words in (
        ("{engine: {}}", "model_serving_framework: it acts when the bundle is made"),
        ("{}", "it is empty"),
        ("{dynamic_batching: {max_batch_size: 1, min_batch: 1, max_batch: 1}}", "changed nothing in how the bundle is served"),
    ):
        with pytest.raises(RecipeError, match=words):
            settled(f"strop: 1\ninstructions: {text}\n", tmp_path, Service())


@pytest.mark.slow
def test_a_planted_server_is_improved_and_serves_by_the_recipe_that_was_kept(double_bundle: Path, tmp_path: Path) -> None:
    workload = strop.ServingWorkload(bundle=double_bundle, objective="200ms", rate=120, seconds=0.5, inputs=[ROW], name="planted")
    request, run = Request(aim=Aim.GOODPUT, budget=300.0), tmp_path / "run"
    plan = {
        "command": "optimize",
        "version": "0",
        "name": "planted",
        "reference": None,
        "started": "",
        "request": request.to_json(),
    }
    server = (sys.executable, str(PLANTED), "0.03", "0.0005", "0")
    with open_ledger(run, plan, resume=False) as ledger:
        with open_staging(workload, request, ledger, silent, server) as staging:
            ledger.step("workload", lambda: {"digest": "", "unjudged": "a test", "original": ""})
            found = improve(staging)
            end = ledger.step("end", lambda: end_staging(staging, found))
        report = assemble_staging(run, ledger.elapsed)
    assert end["exit_code"] == 0 and "dynamic_batching" in (run / "recipe.yaml").read_text(), end
    assert report.gate is not None and report.gate.comparisons[0].speedup.low > 1.02
    (share,) = report.quality
    assert share.guard == "held" and share.baseline is not None and share.result is not None and share.result > share.baseline
    assert "by the recipe" in share.note and "planted answers ×" in render_summary(report) and "in time" in render_html(report)
    assert not [check for check in verify_ledger(run) if check.problem and check.file != "digests.json"]
    assert settled(run / "recipe.yaml", double_bundle, Service()).max_rows == 64


def test_the_report_of_a_confirmed_way_of_serving_says_both_shares_and_how_to_serve_by_it(tmp_path: Path) -> None:
    world, request, run = World(batching(0.3, 0.95)), Request(aim=Aim.GOODPUT), tmp_path / "run"
    plan: dict[str, Any] = {"command": "optimize", "version": "0", "name": "planted", "reference": None, "started": ""}
    plan["request"] = request.to_json()
    with open_ledger(run, plan, resume=False) as ledger:
        ledger.step("workload", lambda: {"digest": "", "unjudged": "a test", "original": ""})
        staging = world.staging(ledger)
        found = improve(staging)
        assert ledger.step("end", lambda: end_staging(staging, found))["exit_code"] == 0
        report = assemble_staging(run, ledger.elapsed)
    (share,) = report.quality
    assert share.guard == "held" and share.baseline == pytest.approx(0.3, abs=0.03) and "by the recipe" in share.note
    text = render_summary(report)
    assert "planted answers ×" in text and "as many requests in time" in text
    assert "--recipe run/recipe.yaml --objective 95ms" in text
    assert "in time" in render_html(report) and report.result[0].point == "of requests answered within 100 ms"
