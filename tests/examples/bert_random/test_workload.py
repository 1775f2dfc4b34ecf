from __future__ import annotations

import pytest
import torch

from examples.bert_random import workload as example
from strop.contract.examples import digest


@pytest.fixture(scope="module")
def model() -> example.RandomBert:
    pytest.importorskip("transformers", reason="real data absent: transformers is not installed")
    return example.build()


def test_it_says_that_it_claims_no_quality() -> None:
    assert "speed only, no quality claim" in example.workload().name
    assert "speed only, no quality claim" in str(example.__doc__)


def test_the_network_has_the_shape_of_bert_base(model: example.RandomBert) -> None:
    encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
    assert encoder == 108_891_648
    assert not model.training


def test_forward_gives_logits(model: example.RandomBert) -> None:
    inputs = example.workload().inputs["1 × 128"][0]
    assert inputs["input_ids"].shape == (1, 128)
    with torch.inference_mode():
        assert model(**inputs).shape == (1, 2)


def test_building_again_gives_the_same_weights(model: example.RandomBert) -> None:
    again = example.build()
    assert torch.equal(model.head.weight, again.head.weight)
    assert torch.equal(model.encoder.embeddings.word_embeddings.weight, again.encoder.embeddings.word_embeddings.weight)


def test_splits_share_no_sequence() -> None:
    splits = example.workload().splits
    digests = [{digest(inputs) for inputs in split.inputs} for split in splits.values()]
    assert [len(found) for found in digests] == [32, 48, 96]
    assert len(set.union(*digests)) == 176
