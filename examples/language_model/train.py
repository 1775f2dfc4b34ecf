"""Train a small language model of SmolLM2's shape on the Brown corpus: next tokens of 256, four sequences a step.

    strop train examples/language_model/train.py --recipe examples/language_model/recipe.yaml --out runs/language-model
    strop train examples/language_model/train.py:chunked --out runs/chunked

SmolLM2-135M is 30 layers of 576 with 9 heads and 3 heads for keys, 1,536 between; this is a third of it in each
direction (13.4 M parameters), so that a step takes about a second on two cores. The vocabulary keeps its 49,152
entries, as large as a real one, for it is what the memory of a small language model goes to: 201 MB of logits a step.
Weights and tokenizer (byte pairs, from the training texts alone) start from nothing.

:func:`chunked` is the same training with the same loss, whose logits are made, used and forgotten 128 tokens at a time.
It is the example's own business because no instruction can know how a loss is to be cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import strop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that any process finds the data the examples share
from examples.data import BROWN, brown, cache_folder

VOCABULARY, LENGTH, BATCH, STEPS = 49_152, 256, 4, 24
CHUNK = 128
"""Tokens whose logits exist at once in :func:`chunked`: 25 MB of them."""

TOKENIZER = 1
"""Raise it when :func:`_tokenized` changes, so that token ids in the cache folder are made anew."""

HELD_OUT = 10
"""One text of so many is held out, half for screening and half for confirming."""


class Tokens(NamedTuple):
    """The corpus as sequences of ``LENGTH + 1`` token ids, int64, whole texts on one side each."""

    training: Tensor
    screening: Tensor
    confirming: Tensor


States = tuple[Tensor, Tensor]
"""What logits are made of, where they are made later: last states (batch, length, width) and the head's weight."""


class LanguageModel(nn.Module):
    """A causal language model whose head can be left to the loss. Input: token ids (batch, length).

    Args:
        whole: answer logits (batch, length, vocabulary) while it is trained; else :data:`States`.
    """

    def __init__(self, whole: bool) -> None:
        from transformers import LlamaConfig, LlamaModel

        super().__init__()
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=10, num_attention_heads=3,
            num_key_value_heads=1, max_position_embeddings=LENGTH, rope_theta=1e5, attn_implementation="sdpa", use_cache=False,
        )  # fmt: skip
        self.body = LlamaModel(config)
        self.whole = whole

    def forward(self, ids: Tensor) -> Tensor | States:
        """Answer logits or states; the head is the embedding turned around."""
        last = self.body(input_ids=ids).last_hidden_state
        weight: Tensor = self.body.embed_tokens.weight
        return functional.linear(last, weight) if self.whole and self.training else (last, weight)


def workload() -> strop.TrainingWorkload:
    """The plain training: logits of the whole batch at once."""
    return _workload("language model", lambda: LanguageModel(whole=True))


def chunked() -> strop.TrainingWorkload:
    """The same training, logits :data:`CHUNK` tokens at a time."""
    return _workload("language model, loss in chunks", lambda: LanguageModel(whole=False))


def _workload(name: str, build: Callable[[], nn.Module]) -> strop.TrainingWorkload:
    tokens = corpus()
    return strop.TrainingWorkload(
        name=name,
        model=build,
        data=list(tokens.training),
        collate=torch.stack,
        forward=lambda model, batch: model(batch[:, :-1]),
        loss=lambda answer, batch: losses(answer, batch[:, 1:]),
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01),
        metric=strop.per_example(losses, name="nats per token", higher_is_better=False),
        screening=_split(tokens.screening),
        confirming=_split(tokens.confirming),
        batch_size=BATCH,
        steps=STEPS,
        max_norm=1.0,
    )


def losses(answer: Tensor | States, wanted: Tensor) -> Tensor:
    """Return the mean cross-entropy of each sequence: (batch).

    Args:
        answer: of the model.
        wanted: the token that follows each: (batch, length).
    """
    if isinstance(answer, Tensor):
        return _entropies(answer, wanted).mean(1)
    states, weight = answer
    parts = [
        checkpoint(_entropies_of_states, last, weight, follow, use_reentrant=False)
        for last, follow in zip(*(torch.split(t, CHUNK // len(wanted), 1) for t in (states, wanted)), strict=True)
    ]
    return torch.cat(parts, 1).mean(1)


def _entropies_of_states(last: Tensor, weight: Tensor, wanted: Tensor) -> Tensor:
    return _entropies(functional.linear(last, weight), wanted)


def _entropies(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)


def _split(sequences: Tensor) -> strop.Split:
    few = torch.split(sequences[:16], BATCH)
    return strop.Split(inputs=few, labels=[batch[:, 1:] for batch in few])


@cache
def corpus() -> Tokens:
    """Return the corpus as token ids, from the cache folder where they were made before.

    Raises:
        DataAbsentError: the corpus could not be fetched.
    """
    mark = hashlib.sha256(json.dumps([BROWN.sha256, VOCABULARY, LENGTH, HELD_OUT, TOKENIZER]).encode()).hexdigest()[:16]
    file = cache_folder() / f"brown-tokens-{mark}.safetensors"
    if not file.exists():
        made = _tokenized(brown())
        unfinished = file.with_suffix(f".{os.getpid()}")  # another process may be making it too
        save_file({name: value.int() for name, value in made._asdict().items()}, unfinished)
        unfinished.replace(file)
    return Tokens(**{name: value.long() for name, value in load_file(file).items()})


def _tokenized(texts: dict[str, str]) -> Tokens:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    held_out = list(texts)[::HELD_OUT]
    parts: Sequence[list[str]] = [[n for n in texts if n not in held_out], held_out[::2], held_out[1::2]]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([texts[name] for name in parts[0]], trainer)
    sequences = []
    for names in parts:
        ids = [token for name in names for token in tokenizer.encode(texts[name]).ids]
        count = len(ids) // (LENGTH + 1)
        sequences.append(torch.tensor(ids[: count * (LENGTH + 1)]).view(count, LENGTH + 1))
    return Tokens(*sequences)
