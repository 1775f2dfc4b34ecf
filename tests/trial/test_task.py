from __future__ import annotations

import json
from pathlib import Path

import pytest

from strop.trial.reference import Reference
from strop.trial.task import Task

REFERENCES = [
    Reference(kind="file", value="目录 a/工作 load.py:build"),
    Reference(kind="hf", value="模型", options={"task": "text-classification", "data": "数据 a.csv"}),
    Reference(kind="live", value="private/live"),
]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.kind)
def test_a_task_survives_the_file_it_is_handed_over_in(reference: Reference) -> None:
    task = Task(
        reference=reference,
        materials=Path("材料 data"),
        recipe={"kernel_fusion": {"threshold": 3, "rules": ["conv2d+bn"]}, "amp_optimizer": {}},
        folder=Path("缓存 cache/.key.1"),
        seed=7,
        graphs=Path("缓存 cache/graphs"),
        origin={"workload": "ab", "versions": {"torch": "2"}, "isa": ["avx2"]},
    )
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
