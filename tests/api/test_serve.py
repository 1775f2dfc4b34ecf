"""What becomes of a bundle before it is served."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import strop
from strop.api.serve import build_app, load_version, model_name, serve
from strop.bundle import read_manifest, update_manifest
from strop.bundle.trust import record_written
from strop.errors import ArtefactError, UsageError
from strop.observe import Event
from strop.serve.app import App
from strop.serve.policy import Policy

ENGINE = "strop: 1\ninstructions: {engine: {}}\n"


def doubled(*rows: int) -> strop.InferenceWorkload:
    """A live workload that doubles rows of four; one number of rows gives a bundle that cannot be batched."""
    model = torch.nn.Linear(4, 4, bias=False)
    model.weight.data = 2 * torch.eye(4)
    examples = [torch.ones(count, 4) for count in rows]
    return strop.InferenceWorkload(model=lambda: model, inputs={"all": examples}, quality=strop.unjudged("a test"), name="double")


def within(folder: Path, act: Callable[[App], Any], *, isolated: bool = False, **policy: Any) -> tuple[Any, list[Event]]:
    """Run ``act`` on the application of a bundle; return its result and what was told."""
    told: list[Event] = []

    async def main() -> Any:
        app = build_app(load_version(folder, chosen, isolated=isolated), chosen, "double", told.append)
        try:
            return await act(app)
        finally:
            await app.desk.close()

    chosen = Policy(**{"objective": 5.0, **policy})
    try:
        return asyncio.run(main()), told
    finally:
        gc.collect()  # two OpenVINO cores must not overlap: the one freed last puts back the signal stack of the other


async def ask(app: App, rows: int) -> tuple[int, Any]:
    row = {"name": "args_0", "shape": [rows, 4], "datatype": "FP32", "data": [[n + 1.0] * 4 for n in range(rows)]}
    response = await app.handle("POST", "/v2/models/double/infer", {}, json.dumps({"inputs": [row]}).encode())
    return response.status, json.loads(response.body)


def test_a_bundle_becomes_a_service_that_stacks_calls(double_bundle: Path) -> None:
    async def act(app: App) -> list[tuple[int, Any]]:
        answers = await asyncio.gather(*(ask(app, rows) for rows in (1, 2, 3)))
        assert app.desk.counts.batch_rows.total == 6
        assert app.metadata["platform"] == "strop_openvino"
        return answers

    answers, told = within(double_bundle, act)
    assert told == []
    for rows, (status, row) in zip((1, 2, 3), answers, strict=True):
        assert status == 200
        assert row["outputs"][0]["data"] == [2.0 * (n + 1) for n in range(rows) for _ in range(4)]


def test_isolated_workers_give_the_same_answers_to_the_bit(double_bundle: Path) -> None:
    async def act(app: App) -> list[tuple[int, Any]]:
        assert (app.desk.workers.up, app.desk.workers.here) == (2, None)
        return await asyncio.gather(*(ask(app, rows) for rows in (1, 2, 3)))

    here, there = (within(double_bundle, act_in, isolated=flag, executors=2)[0] for flag, act_in in ((False, asked), (True, act)))
    assert here == there


async def asked(app: App) -> list[tuple[int, Any]]:
    return await asyncio.gather(*(ask(app, rows) for rows in (1, 2, 3)))


def test_a_fixed_number_of_rows_runs_one_by_one_and_says_so(place: Path) -> None:
    strop.apply(ENGINE, doubled(2), out=place / "bundle")

    async def act(app: App) -> list[tuple[int, Any]]:
        assert app.desk.scheduler.policy.max_rows == 1
        return await asyncio.gather(*(ask(app, rows) for rows in (2, 2, 3)))

    answers, told = within(place / "bundle", act)
    assert [status for status, _ in answers] == [200, 200, 400]
    assert [event.name for event in told] == ["serve.unbatched"]


def test_times_in_the_manifest_are_used_and_an_objective_below_them_is_told(double_bundle: Path, place: Path) -> None:
    bundle = shutil.copytree(double_bundle, place / "bundle")
    latency = {"rows 1": {"rows": 1, "width": 4, "seconds": 0.25}, "rows 8": {"rows": 8, "width": 4, "seconds": 0.5}}
    record_written(update_manifest(bundle, read_manifest(bundle), latency=latency).files)  # times of another machine do not count
    assert read_manifest(bundle).latency == latency

    async def act(app: App) -> float:
        return app.desk.scheduler.latency.typical(4, 1)

    assert within(bundle, act)[0] == 0.25
    with pytest.raises(UsageError, match=r"one call takes 250 ms, longer than the objective of 50\.0 ms.*longer --objective"):
        within(bundle, act, objective=0.05)


def test_a_model_is_named_after_its_folder_as_far_as_a_url_allows(tmp_path: Path) -> None:
    assert model_name(tmp_path / "mini lm 模型 v2") == "mini-lm-v2"
    assert model_name(tmp_path / "模型") == "model"
    assert model_name(tmp_path, "a.b-c_1") == "a.b-c_1"
    for name in ("a/b", "a..b", "n" * 129, "a b"):
        with pytest.raises(UsageError, match="a model's name is made of"):
            model_name(tmp_path, name)


def test_what_is_no_bundle_is_told_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a bundle"):
        serve(tmp_path)
    with pytest.raises(UsageError, match="a duration was expected"):
        serve(tmp_path, objective="soon")


def test_a_server_starts_without_what_only_measuring_and_recipes_need() -> None:
    code = (
        "import sys; import strop.cli.serve, strop.api.serve, strop.serve.server;"
        "heavy = {'torch', 'scipy', 'pandas', 'strop.pipeline', 'strop.ledger'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
