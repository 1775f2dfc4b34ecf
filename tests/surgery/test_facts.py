from __future__ import annotations

import json
from dataclasses import asdict, replace

import torch
from torch import nn

from strop.contract.quality import agreement
from strop.contract.workload import InferenceWorkload, Split
from strop.surgery.facts import read_facts
from strop.testing.models import Deep


def workload(*examples: object) -> InferenceWorkload:
    split = Split(inputs=[torch.ones(1, 4)])
    inputs = {"one": list(examples), "two": [examples[0]]}
    return InferenceWorkload(model=nn.Identity, inputs=inputs, quality=agreement(), screening=split, confirming=split)


def test_counts_parameters_once_and_buffers_in_bytes() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[1].weight = model[0].weight
    facts = read_facts(model, workload(torch.ones(1, 4)))
    assert facts.parameters == 16 + 4 + 4 + 8
    assert facts.weight_bytes == 4 * (facts.parameters + 8) + 8  # running mean and variance, and the batch count
    assert facts.modules["Linear"] == 2
    assert facts.points == {"one": 1, "two": 1} and facts.splits == {"screening": 1, "confirming": 1}
    json.dumps(asdict(facts))


def test_the_depth_is_that_of_the_longest_stack_and_elements_are_those_of_all_inputs_of_a_point() -> None:
    learned = replace(workload(torch.ones(1, 4), torch.ones(3, 4)), training=Split(inputs=[{"x": torch.ones(2, 4)}] * 5))
    facts = read_facts(Deep(blocks=5), learned)
    assert facts.depth == 5 and read_facts(nn.Identity(), learned).depth == 0
    assert facts.elements == {"one": 16, "two": 4, "training": 40}
    json.dumps(asdict(facts))


def test_dynamic_means_that_a_size_varies_whatever_the_order_of_keywords() -> None:
    a, b = torch.ones(1, 4), torch.ones(1, 5)
    assert not read_facts(nn.Identity(), workload({"x": a, "y": b}, {"y": b, "x": a})).dynamic
    assert read_facts(nn.Identity(), workload({"x": a}, {"x": b})).dynamic
    assert not read_facts(nn.Identity(), workload(a, torch.ones(3, 4))).dynamic, "a batch of another size is no other length"
