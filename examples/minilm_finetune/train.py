"""Fine-tune all-MiniLM-L6-v2 (22.7 M parameters) on 800 sentences of the sentiment set; judged on 1,500 others.

    strop optimize examples/minilm_finetune/train.py --aim throughput --max-drop 1% --budget 20m --out runs/ft
    strop train examples/minilm_finetune/train.py --recipe examples/minilm_finetune/recipe.yaml --out runs/finetune

The plain workload is what a first script would do: batches of 32 in random order, each padded to its own longest
sentence, AdamW in 32 bits, one rate. The recipe beside it says what to do differently.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import strop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that any process finds what the examples share
from examples.data import Sentence, sentiment
from examples.minilm_sentiment.workload import WIDTH, SentimentClassifier, encode, encoder

RATE = 5e-5
"""Peak learning rate; the head, which starts from nothing, learns ten times as fast."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A sentence as token ids, with its class: 1 is positive, 0 negative."""

    ids: Tensor
    label: int


def workload() -> strop.TrainingWorkload:
    """The workload: three epochs over 800 sentences; the metric is accuracy on labelled sentences."""
    splits = sentiment()
    return strop.TrainingWorkload(
        name="MiniLM fine-tuning",
        model=build,
        data=[tokens(sentence) for sentence in splits.head],
        collate=pad,
        forward=lambda model, batch: model(batch["input_ids"], batch["attention_mask"]),
        loss=lambda logits, batch: functional.cross_entropy(logits, batch["labels"], reduction="none"),
        optimizer=optimizer,
        metric=strop.accuracy(),
        screening=evaluation(splits.screening),
        confirming=evaluation(splits.confirming),
        length=lambda sample: len(sample.ids),
        label=lambda sample: sample.label,
        batch_size=32,
        epochs=3,
        max_norm=1.0,
    )


def build() -> SentimentClassifier:
    """Load the encoder; the head starts from random weights."""
    return SentimentClassifier(encoder(), nn.Linear(WIDTH, 2))


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW with a faster rate for the head."""
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("head.")]
    return torch.optim.AdamW([{"params": rest, "lr": RATE}, {"params": head, "lr": 10 * RATE}], weight_decay=0.01)


def tokens(sentence: Sentence) -> Tokens:
    """Tokenise one sentence."""
    return Tokens(encode([sentence])["input_ids"][0], sentence.label)


def pad(samples: Sequence[Tokens]) -> dict[str, Tensor]:
    """Collate: ``input_ids`` and ``attention_mask`` (batch, longest), ``labels`` (batch)."""
    ids = nn.utils.rnn.pad_sequence([sample.ids for sample in samples], batch_first=True)
    lengths = torch.tensor([len(sample.ids) for sample in samples])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([sample.label for sample in samples])}


def evaluation(sentences: Sequence[Sentence]) -> strop.Split:
    """Batches of 50 sentences of similar length, which changes no answer and saves padding."""
    ordered = sorted((tokens(sentence) for sentence in sentences), key=lambda sample: len(sample.ids))
    batches = [pad(ordered[start : start + 50]) for start in range(0, len(ordered), 50)]
    return strop.Split(inputs=batches, labels=[batch["labels"] for batch in batches])
