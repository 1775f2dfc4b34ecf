from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import strop
from strop.contract.recipe import Recipe
from strop.errors import ArtefactError, StropError, UsageError, WorkloadError
from strop.instructions.deployment.i43_dynamic_batching import DynamicBatching
from strop.trial.serving import Served, ServingShop, read_traffic, serving_draft

ROW = np.ones((1, 4), dtype=np.float32)
Bundle = Callable[..., Path]


def workload(bundle: Path, **changes: Any) -> strop.ServingWorkload:
    return strop.ServingWorkload(**{"bundle": bundle, "objective": "100ms", "rate": "100/s", "inputs": [ROW], **changes})


def test_inputs_become_requests_in_the_bundle_s_own_names(double_bundle: Path) -> None:
    traffic = read_traffic(workload(double_bundle, inputs=[ROW, np.ones((3, 4), dtype=np.float32)]), 0)
    bodies = [request.body for request in traffic.windows.requests]
    assert [b'"name": "args_0"' in body for body in bodies] == [True, True]
    assert b'"shape": [3, 4]' in bodies[1] and bodies[1].endswith(np.ones((3, 4), dtype="<f4").tobytes())
    assert [rows for _, rows in traffic.buckets] == [1, 3] and traffic.batchable
    assert traffic.windows.objective == 0.1 and traffic.windows.rate == 100


def test_without_inputs_they_are_random(double_bundle: Path) -> None:
    traffic = read_traffic(workload(double_bundle, inputs=()), 0)
    assert len({request.body for request in traffic.windows.requests}) == 64 and len(traffic.buckets) == 1


@pytest.mark.parametrize(
    ("changes", "words", "kind"),
    [
        ({"inputs": [ROW.astype(np.float64)]}, r"has args_0 as float64\[1, 4\]; the bundle takes float32", WorkloadError),
        ({"inputs": [(ROW, ROW)]}, "do not have the structure", WorkloadError),
        ({"inputs": ["text"]}, "an example input is a str", WorkloadError),
        ({"arrivals": "possion"}, "neither a pattern nor a file. Did you mean 'poisson'", UsageError),
        ({"rate": 1e9}, "are more than 5000000 requests", UsageError),
    ],
)
def test_what_cannot_be_sent_is_told_before_anything_starts(
    changes: dict[str, Any], words: str, kind: type[StropError], double_bundle: Path
) -> None:
    with pytest.raises(kind, match=words):
        read_traffic(workload(double_bundle, **changes), 0)


def test_recorded_arrivals_that_are_malformed_name_the_line(double_bundle: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    times.write_text("seconds\n1.0\nsoon\n")
    with pytest.raises(UsageError, match=r"times.csv, line 3: a time was expected"):
        read_traffic(workload(double_bundle, arrivals=times), 0)
    times.write_text("seconds\n1.0\n1.5\n4\n")
    assert read_traffic(workload(double_bundle, arrivals=times), 0).windows.draw(10, 1.0, 0).max() < 1


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not a bundle"):
        read_traffic(workload(tmp_path), 0)


def test_the_draft_knows_how_often_requests_meet(double_bundle: Path) -> None:
    traffic = read_traffic(workload(double_bundle), 0)
    meet = {call: serving_draft(workload(double_bundle), traffic, call, 0).facts.notes["company"] for call in (1e-5, 0.01, 1.0)}
    assert meet[1e-5] < 0.01 and meet[0.01] == pytest.approx(1 - np.exp(-1), abs=0.05) and meet[1.0] == 1.0
    draft = serving_draft(workload(double_bundle), traffic, 0.01, 0)
    assert draft.service.objective == pytest.approx(0.095), "some of it goes into the way there and back"
    with pytest.raises(UsageError, match="no model in code"):
        _ = draft.model


def test_a_server_is_started_by_the_command_a_user_would_type(double_bundle: Path, tmp_path: Path) -> None:
    shop = ServingShop(workload=workload(double_bundle), folder=tmp_path, server=("strop", "serve"))
    common = ["strop", "serve", str(double_bundle.resolve()), "--objective", "0.095000000s"]
    free = ["--port", "0", "--no-grpc", "--admin-port", "0", "--json"]
    assert shop.arm(Served(Recipe()), "baseline").arguments["command"] == [*common, "--max-rows", "1", *free]
    assert shop.plain().arguments["command"] == [*common, *free]
    recipe = Recipe([DynamicBatching(max_batch_size=8)])
    spec = replace(shop, workload=workload(double_bundle, objective=0.2)).arm(Served(recipe), "candidate")
    path = tmp_path / f"{recipe.key}.yaml"
    assert spec.arguments["command"][-8:-6] == ["--recipe", str(path)] and "0.190000000s" in spec.arguments["command"]
    assert "max_batch_size: 8" in path.read_text()
