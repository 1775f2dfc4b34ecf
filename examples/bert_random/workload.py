"""A network of BERT-base's shape (12 × 768) with random weights: **speed only, no quality claim**.

    strop optimize examples/bert_random/workload.py --aim latency --budget 3m --out runs/bert

Random weights make answers that mean nothing, so agreement on them says nothing either; the evaluation splits are
there because a candidate must still be shown to compute the same kind of thing. Never quote a quality figure of this.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import strop

LENGTH, VOCABULARY, CLASSES = 128, 30_522, 2


class RandomBert(nn.Module):
    """An untrained BERT encoder with a linear head on the first token."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        torch.manual_seed(0)
        self.encoder = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False)
        self.head = nn.Linear(768, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask, both (batch, 128), to logits (batch, 2)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits: Tensor = self.head(hidden[:, 0])
        return logits


def workload() -> strop.InferenceWorkload:
    """The workload: one sequence of 128 random tokens."""
    return strop.InferenceWorkload(
        name="BERT-base shape, random weights: speed only, no quality claim",
        model=build,
        inputs={"1 × 128": _sequences(8, seed=0)},
        quality=strop.unjudged("the weights are random"),
        calibration=strop.Split(inputs=_sequences(32, seed=1)),
        screening=strop.Split(inputs=_sequences(48, seed=2)),
        confirming=strop.Split(inputs=_sequences(96, seed=3)),
    )


def build() -> RandomBert:
    """Build the network with the same random weights every time, in evaluation mode."""
    return RandomBert().eval()


def _sequences(count: int, *, seed: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1000, VOCABULARY, (count, LENGTH), generator=generator)
    mask = torch.ones(1, LENGTH, dtype=torch.int64)
    return [{"input_ids": row[None], "attention_mask": mask} for row in ids]
