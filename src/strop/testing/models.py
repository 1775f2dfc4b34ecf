"""Tiny models that answer in microseconds, and drafts built around any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from strop.contract.draft import Draft, Facts
from strop.contract.quality import accuracy, agreement
from strop.contract.signature import infer_signature
from strop.contract.workload import InferenceWorkload, ServingWorkload, Split, TrainingWorkload
from strop.loop.intents import training_of
from strop.surgery.facts import read_facts
from strop.surgery.flow import torch_call


class Mlp(nn.Module):
    """Two linear layers with GELU between. Input ``(batch, 16)``, answer ``(batch, 4)``."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.act, self.down = nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``(batch, 4)``."""
        return self.down(self.act(self.up(x)))  # type: ignore[no-any-return]


class SameConv2d(nn.Conv2d):
    """A convolution that pads its own input as TensorFlow's "SAME" does, as ported models write it."""

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``(N, out, ceil(H / stride), ceil(W / stride))``."""
        amounts: list[int] = []
        for size, kernel, stride in zip(x.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            amounts += [total // 2, total - total // 2]
        x = functional.pad(x, amounts) if any(amounts) else x
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class ConvBnNet(nn.Module):
    """Convolutions with batch norms of non-trivial statistics. Input ``(batch, 3, 16, 16)``, answer ``(batch, 5)``.

    One convolution pads by itself, one is depthwise, two share an activation, one has none behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm0 = SameConv2d(3, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16, eps=1e-3)
        self.deep, self.norm1 = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16)
        self.out, self.norm2 = nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32)
        self.act, self.head = nn.ReLU6(), nn.Linear(32, 5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2)):
                    nn.init.uniform_(tensor, low, high)  # type: ignore[arg-type]
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``(batch, 5)``."""
        x = self.act(self.norm0(self.stem(x)))
        x = self.act(self.norm1(self.deep(x)))
        x = self.norm2(self.out(x))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class TinyAttention(nn.Module):
    """One transformer block over 50 tokens of width 32. Keyword inputs ``input_ids``, ``attention_mask``: ``(batch, length)``.

    Answers a dict: ``logits`` ``(batch, 3)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(50, 32), nn.LayerNorm(32)
        self.qkv, self.mix = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp, self.head = Mlp(), nn.Linear(32, 3)
        self.mlp.up, self.mlp.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Answer the logits of the mean over tokens that the mask keeps."""
        x = self.embed(input_ids)
        q, k, v = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1))
        keep = attention_mask[:, None, None, :].bool()
        x = x + self.mix(functional.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norm(x))
        weight = attention_mask[..., None].to(x.dtype)
        return {"logits": self.head((x * weight).sum(1) / weight.sum(1))}


class Block(nn.Module):
    """One step of :class:`Deep`: ``(…, width)`` → ``(…, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turn, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``(…, width)``."""
        return self.norm(x + torch.tanh(self.turn(x)))  # type: ignore[no-any-return]


class Deep(nn.Module):
    """A stack of like blocks under a classifier. Input ``(batch, 8)``, answer ``(batch, classes)``."""

    def __init__(self, blocks: int = 4, width: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(8, width), nn.Linear(width, classes)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Answer ``(batch, classes)``."""
        x = self.up(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


def deep_draft(**changes: Any) -> Draft:
    """A draft of calling :class:`Deep`, with 96 training inputs of one row and their classes; ``changes``: of its workload."""
    draft = draft_for(_seeded(Deep), [torch.randn(4, 8) for _ in range(4)])
    rows = torch.randn(96, 8, generator=torch.Generator().manual_seed(1))
    learned = Split(inputs=[row[None] for row in rows], labels=rows[:, :3].argmax(dim=1).tolist())
    draft.workload = replace(draft.workload, **{"training": learned, **changes})
    return draft


def mlp_draft() -> Draft:
    """A draft of :class:`Mlp` with eight inputs of four rows."""
    return draft_for(_seeded(Mlp), [torch.randn(4, 16) for _ in range(8)])


def conv_draft() -> Draft:
    """A draft of :class:`ConvBnNet` with eight inputs of two images."""
    return draft_for(_seeded(ConvBnNet), [torch.randn(2, 3, 16, 16) for _ in range(8)])


def attention_draft() -> Draft:
    """A draft of :class:`TinyAttention` with eight inputs of two sentences, 4 to 11 tokens long."""
    sizes = range(4, 12)
    rows = [{"input_ids": torch.randint(0, 50, (2, n)), "attention_mask": torch.ones(2, n, dtype=torch.long)} for n in sizes]
    return draft_for(_seeded(TinyAttention), rows)


def served_draft(company: float = 1.0) -> Draft:
    """The draft of :func:`mlp_draft` as a bundle that is served.

    Args:
        company: share of requests that arrive while the one before is being answered.
    """
    draft = mlp_draft()
    draft.workload, draft.facts = ServingWorkload(bundle="bundle"), Facts(notes={"batchable": 1.0, "company": company})
    return draft


def training_draft(**changes: Any) -> Draft:
    """A draft of training :class:`TinyAttention` on 24 sentences, 3 to 14 tokens long, in six steps of 8; loss per sample.

    Args:
        changes: of the workload's fields.
    """
    return training_draft_for(sentences_workload(**changes))


def sentences_workload(**changes: Any) -> TrainingWorkload:
    """The workload of :func:`training_draft`: is the first token among the upper half of the vocabulary?"""
    generator = torch.Generator().manual_seed(0)
    sentences = [torch.randint(0, 50, (3 + n % 12,), generator=generator) for n in range(40)]
    rows = [(sentence, int(sentence[0] >= 25)) for sentence in sentences]
    evaluation = Split(inputs=[pad(rows[24:32]), pad(rows[32:])], labels=[pad(r)["labels"] for r in (rows[24:32], rows[32:])])
    fields: dict[str, Any] = {
        "model": lambda: _seeded(TinyAttention),
        "data": rows[:24],
        "collate": pad,
        "forward": lambda model, batch: model(batch["input_ids"], batch["attention_mask"])["logits"],
        "loss": lambda outputs, batch: functional.cross_entropy(outputs, batch["labels"], reduction="none"),
        "optimizer": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2),
        "metric": accuracy(),
        "confirming": evaluation,
        "length": lambda row: len(row[0]),
        "label": lambda row: row[1],
        "batch_size": 8,
        "epochs": 2,
    }
    return TrainingWorkload(**{**fields, **changes})


def training_draft_for(workload: TrainingWorkload) -> Draft:
    """Build the draft of a training workload."""
    model = workload.model()
    return Draft(model=model, workload=workload, facts=read_facts(model, workload), seed=0, training=training_of(workload, 0))


def pad(rows: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """Collate sentences and their classes: ``input_ids``, ``attention_mask`` (batch, length), ``labels`` (batch)."""
    ids = nn.utils.rnn.pad_sequence([ids for ids, _ in rows], batch_first=True)
    lengths = torch.tensor([len(ids) for ids, _ in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([label for _, label in rows])}


def draft_for(model: nn.Module, examples: Sequence[Any], *, calibration: Sequence[Any] | None = None, seed: int = 0) -> Draft:
    """Build the draft of an inference workload around a model.

    Args:
        model: put into eval mode; the draft holds it itself, not a copy.
        examples: inputs as a workload gives them; the largest should come first, as in a trial.
        calibration: inputs of the calibration split; ``None`` takes the examples.
        seed: of the draft.
    """
    model.eval()
    given = Split(inputs=list(examples))
    workload = InferenceWorkload(
        model=lambda: model,
        inputs={"all": given.inputs},
        calibration=given if calibration is None else Split(inputs=list(calibration)),
        screening=given,
        confirming=given,
        quality=agreement(),
    )
    answers = []
    for example in examples:
        args, kwargs = torch_call(example)
        with torch.inference_mode():
            answers.append(model(*args, **kwargs))
    return Draft(
        model=model,
        workload=workload,
        facts=read_facts(model, workload),
        seed=seed,
        signature=infer_signature(examples, answers),
        examples=list(examples),
    )


def _seeded(build: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()
