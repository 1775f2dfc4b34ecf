"""Tiny models with the shapes and structures that engines must cope with, and drafts made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import Draft, EngineOptions, Facts
from strop.contract.engine import Program
from strop.contract.quality import Quality, agreement
from strop.contract.signature import as_call, infer_signature
from strop.contract.workload import InferenceWorkload, Split
from strop.engines import get
from strop.measure.host import Host

HOST = Host(cpu="a test CPU", cores=2, isa=frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16"}))


class Mlp(nn.Module):
    """Two linear layers; any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.relu(self.first(x)))
        return out


class Conv(nn.Module):
    """Convolution, batch norm, ReLU, pooling, head; any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, 4)
        for module in self.body:
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).mean((2, 3)))
        return out


@dataclass
class Answer:
    """A structured output that an opened bundle knows nothing about."""

    logits: Tensor
    hidden: Tensor
    nothing: None = None


class Structured(nn.Module):
    """Takes a keyword and a positional argument and answers in the structure it was built for."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.layer, self.unused = kind, nn.Linear(8, 8), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, *, scale: Tensor, ignored: Tensor) -> Any:
        hidden = torch.relu(self.layer(x))
        logits = hidden * scale
        if self.kind == "dict":
            return {"logits": logits, "hidden": hidden}
        if self.kind == "dataclass":
            return Answer(logits, hidden)
        return (logits, [hidden, (logits.sum(-1), None)])


class NoWeights(nn.Module):
    """Nothing that could be quantised or run in low precision."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) + x.cumsum(-1)


class Unmasked(nn.Module):
    """Averages over the whole length, padding included, so padding changes its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x).mean(1) + 1
        return out


class PerToken(nn.Module):
    """Answers per token, so answers must be cut back; masked, so padding is harmless."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        hidden = self.layer(self.embed(ids)) * mask[..., None]
        return {"tokens": hidden, "pooled": hidden.sum(1) / mask.sum(1, keepdim=True)}


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.embed(ids)))
        return out


def bert() -> nn.Module:
    """A two-layer BERT classifier with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    model: nn.Module = BertForSequenceClassification(config).eval()
    return model


def tokens(batch: int, length: int, seed: int = 0) -> dict[str, Tensor]:
    ids = torch.randint(1, 50, (batch, length), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": torch.ones(batch, length, dtype=torch.long)}


def make_draft(
    model: nn.Module, examples: Sequence[Any], calibration: Sequence[Any] = (), quality: Quality | None = None, **intents: Any
) -> Draft:
    """Build a draft as a trial would."""
    model = model.eval()
    with torch.inference_mode():
        answers = [model(*args, **kwargs) for args, kwargs in map(as_call, examples)]
    workload = InferenceWorkload(
        model=lambda: model,
        inputs={"all": examples},
        quality=quality or agreement(),
        calibration=Split(inputs=calibration),
        screening=Split(inputs=examples),
        confirming=Split(inputs=examples),
    )
    signature = infer_signature(examples, answers)
    return Draft(model=model, workload=workload, facts=Facts(), seed=0, signature=signature, examples=examples, **intents)


def open_lowered(draft: Draft, folder: Path, options: EngineOptions | None = None) -> Program:
    """Lower with the draft's engine and open what came of it."""
    engine = get(draft.engine)
    folder.mkdir(parents=True, exist_ok=True)
    engine.lower(draft, folder)
    source: Callable[[], nn.Module] | None = (lambda: draft.model) if engine.needs_source else None
    return engine.open(folder, draft.signature, options or EngineOptions(), source)


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """Models, inputs and helpers."""
    torch.manual_seed(0)
    return SimpleNamespace(
        HOST=HOST,
        Mlp=Mlp,
        Conv=Conv,
        Structured=Structured,
        NoWeights=NoWeights,
        Unmasked=Unmasked,
        PerToken=PerToken,
        Tied=Tied,
        bert=bert,
        tokens=tokens,
        draft=make_draft,
        open=open_lowered,
    )
