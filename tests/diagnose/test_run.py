from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from strop.contract.quality import unjudged
from strop.contract.workload import InferenceWorkload
from strop.diagnose import Diagnosis, diagnose, diagnose_workload
from strop.diagnose.diagnosis import Bottleneck, OperatorShare
from strop.diagnose.profile import Profile
from strop.diagnose.run import classify, overhead_share
from strop.measure.host import Host
from strop.testing.models import TinyAttention

ROOFS = {"gemm_float32": 1e11, "read": 1e10}
HOST = Host(cpu="test", cores=2, roofs=ROOFS)


@pytest.mark.parametrize(
    ("products", "overhead", "flops", "traffic", "wanted"),
    [
        (0.9, 0.5, 10**9, 10**6, Bottleneck.OVERHEAD),
        (0.9, 0.1, 10**9, 10**8, Bottleneck.COMPUTE),
        (0.9, 0.1, 10**9 - 1, 10**8, Bottleneck.MEMORY),
        (0.4, 0.1, 10**9, 10**6, Bottleneck.MEMORY),
    ],
)
def test_the_class_follows_shares_and_ridge(
    products: float, overhead: float, flops: int, traffic: int, wanted: Bottleneck
) -> None:
    assert classify(products, overhead, flops, traffic, ROOFS) is wanted


def test_without_roofs_a_usual_ridge_stands_in() -> None:
    assert classify(0.9, 0.0, 80, 10, {}) is Bottleneck.COMPUTE
    assert classify(0.9, 0.0, 79, 10, {}) is Bottleneck.MEMORY


def test_overhead_is_the_larger_of_two_estimates_and_at_most_all() -> None:
    def profile(**changes: float) -> Profile:
        values = {"seconds": 1e-3, "timed": 1, "inside": 9e-4, "profiled": 1e-3, "starts": 100, **changes}
        return Profile(operators=(OperatorShare("aten::mm", 1, 1),), **values)  # type: ignore[arg-type]

    assert overhead_share(profile(), 2e-6) == pytest.approx(0.2)
    assert overhead_share(profile(inside=4e-4), 2e-6) == pytest.approx(0.6)
    assert overhead_share(profile(starts=10**6), 2e-6) == 1


class ManySmall(nn.Module):
    """A thousand operators on one number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(1000):
            x = x + 1
        return x


def test_a_model_of_many_small_operators_is_overhead_bound() -> None:
    (point,) = diagnose(ManySmall(), {"one": [torch.zeros(1)]}, HOST, seconds=0.2).points
    assert point.bottleneck is Bottleneck.OVERHEAD and point.operator_calls >= 1000 and point.product_share == 0


def test_a_large_product_is_compute_bound_and_its_bound_is_the_roof() -> None:
    (point,) = diagnose(nn.Linear(1024, 1024), {"many": [torch.ones(512, 1024)]}, HOST, seconds=0.2).points
    assert point.flops == 2 * 512 * 1024 * 1024
    assert point.bound == pytest.approx(point.flops / 1e11)
    assert point.bottleneck is Bottleneck.COMPUTE and point.product_share > 0.5


ROWS = (512, 8, 256, 1024)


@pytest.mark.parametrize(("seconds", "timed"), [(1e-9, ROWS[:1]), (5.0, ROWS)], ids=["no time", "time for all"])
def test_work_is_counted_over_the_inputs_that_were_timed(seconds: float, timed: tuple[int, ...]) -> None:
    """Inputs differ in length; the time of some over the work of another put MiniLM 13 % above the roof."""
    model = nn.Linear(256, 64, bias=False)
    (point,) = diagnose(model, {"some": [torch.ones(rows, 256) for rows in ROWS]}, HOST, seconds=seconds).points
    mean = sum(timed) / len(timed)
    assert point.flops == 2 * mean * 256 * 64
    assert point.traffic == 4 * (256 * 64 + mean * (256 + 64))


def test_a_workload_gives_json_with_points_and_suggestions() -> None:
    torch.manual_seed(0)
    rows = [{"input_ids": torch.ones(1, n, dtype=torch.long), "attention_mask": torch.ones(1, n)} for n in (4, 8)]
    workload = InferenceWorkload(
        model=TinyAttention, inputs={"short": rows[:1], "long": rows[1:]}, quality=unjudged("speed only")
    )
    row = json.loads(json.dumps(diagnose_workload(workload, HOST, seconds=0.2)))
    assert [point["point"] for point in row["points"]] == ["short", "long"]
    assert row["suggestions"] and row["points"][0]["suggestions"][0]["instruction"].split()[0].isdigit()
    assert Diagnosis.from_json(row).to_json() == row


def test_roofs_that_were_not_measured_leave_the_bound_open() -> None:
    (point,) = diagnose(nn.Linear(4, 4), {"one": [torch.ones(1, 4)]}, HOST, {}, seconds=0.05).points
    assert point.bound == 0 and "roofs not measured" in point.reason
