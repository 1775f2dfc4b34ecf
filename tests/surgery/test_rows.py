"""Embeddings split by use: the same weights after training as of the whole table, and every other row as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.errors import TrainingError
from strop.instructions.inference.i31_kernel_fusion import KernelFusion
from strop.loop.loop import TrainingLoop
from strop.measure.host import Host
from strop.pipeline import Outcome, train
from strop.surgery import rows
from strop.surgery.rows import UsedRows
from strop.testing.models import TinyAttention, training_draft

HOST = Host(cpu="test", cores=2)
VOCABULARY = 2**15
"""Times a width of 32: the smallest table that is split. The sentences use 50 rows at most."""


class Wide(TinyAttention):
    """With a vocabulary of which little is used."""

    def __init__(self, **settings: Any) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 32, **settings)


def wide_draft(model: Any = Wide, **changes: Any) -> Draft:
    return training_draft(model=model, optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9), **changes)


def used(draft: Draft) -> Tensor:
    assert draft.training is not None
    return torch.unique(torch.cat([ids for ids, _ in draft.training.data] + [torch.zeros(1, dtype=torch.long)]))  # 0 pads


@pytest.mark.parametrize("settings", [{}, {"padding_idx": 0}])
def test_training_ends_with_the_weights_of_the_whole_table(settings: dict[str, Any]) -> None:
    plain, changed = wide_draft(lambda: Wide(**settings)), wide_draft(lambda: Wide(**settings))
    before = plain.model.embed.weight.clone()
    train(plain, Recipe(), HOST)
    done = train(changed, Recipe([KernelFusion(rules=("embedding",))]), HOST)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert done.tallies["kernel_fusion"] == {"embedding rows that no sample uses": VOCABULARY - len(used(plain))}
    assert list(plain.model.state_dict()) == list(changed.model.state_dict()) and type(changed.model.embed) is nn.Embedding
    for one, two in zip(plain.model.parameters(), changed.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    moved = (changed.model.embed.weight != before).any(1).nonzero().reshape(-1)
    assert set(moved.tolist()) <= set(used(plain).tolist()) and len(moved) > 20


class Twins(Wide):
    """Calls its table by a second name."""

    def __init__(self) -> None:
        super().__init__()
        table = self.embed
        del self.embed
        self.first, self.embed = table, table


def test_a_table_with_two_names_is_split_and_restored_under_both() -> None:
    draft = wide_draft(Twins)
    before = draft.model.embed.weight.clone()
    done = train(draft, Recipe([KernelFusion(rules=("embedding",))]), HOST)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert draft.model.first is draft.model.embed and type(draft.model.embed) is nn.Embedding
    assert len((draft.model.embed.weight != before).any(1).nonzero()) > 20


def test_gradient_and_moments_are_of_the_size_of_what_is_used() -> None:
    draft = wide_draft()
    rows.split(draft.model, draft.training)
    with TrainingLoop(draft.model, draft.training, seed=0) as loop:
        loop.run(1)
        held = sum(state["momentum_buffer"].numel() for state in loop.optimizer.state.values())
    assert held < 0.05 * VOCABULARY * 32


def test_a_row_that_no_sample_uses_is_answered_in_evaluation_and_refused_in_training() -> None:
    table = nn.Embedding(100, 4)
    part = UsedRows(table, torch.tensor([3, 7]))
    asked = torch.tensor([[3, 99], [7, 0]])
    assert torch.equal(part.eval()(asked), table(asked))
    with pytest.raises(TrainingError, match=r"row 99 of an embedding.*Leave the rule 'embedding' out"):
        part.train()(asked)


@pytest.mark.parametrize(
    "settings", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}], ids=["max_norm", "by frequency", "sparse"]
)
def test_special_tables_stay_whole(settings: dict[str, Any]) -> None:
    draft = wide_draft(lambda: Wide(**settings))
    assert rows.split(draft.model, draft.training) == 0


def test_a_small_a_shared_and_a_mostly_used_table_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tied(Wide):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(32, VOCABULARY, bias=False)
            self.out.weight = self.embed.weight

    for draft in (training_draft(), wide_draft(Tied)):
        assert rows.split(draft.model, draft.training) == 0
    monkeypatch.setattr(rows, "SMALLEST", 1)  # then the 50 rows of the small one are considered, and mostly used
    draft = training_draft()
    assert rows.split(draft.model, draft.training) == 0
    monkeypatch.setattr(rows, "MOST_SAMPLES", 3)
    draft = wide_draft()
    assert rows.split(draft.model, draft.training) == 0


class Siamese(Wide):
    """Looks up the sentences, and then others that it makes of them."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        one, two = (super(Siamese, self).forward(ids, attention_mask)["logits"] for ids in (input_ids, input_ids + 100))
        return {"logits": one - 2 * two}


def test_rows_that_only_a_second_lookup_of_the_same_forward_uses_are_trained() -> None:
    draft = wide_draft(Siamese)
    before = draft.model.embed.weight.clone()
    done = train(draft, Recipe([KernelFusion(rules=("embedding",))]), HOST)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert done.tallies["kernel_fusion"] == {"embedding rows that no sample uses": VOCABULARY - 2 * len(used(draft))}
    assert (draft.model.embed.weight != before).any(1)[100:200].any()


def test_a_model_that_looks_up_once_is_asked_for_no_more_than_the_first_batch_and_then_the_lookups() -> None:
    draft, calls = wide_draft(), []
    draft.model.qkv.register_forward_hook(lambda *_: calls.append(1))
    draft.training.data = [*draft.training.data] * 10
    assert rows.split(draft.model, draft.training) == VOCABULARY - len(used(draft))
    assert len(calls) == 1


class TiedByFunction(Wide):
    """Its last product is with the table."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        x = self.embed(input_ids).mean(1)
        return {"logits": nn.functional.linear(x, self.embed.weight)[:, :3]}


def test_a_table_whose_weight_is_read_elsewhere_stays_whole() -> None:
    draft = wide_draft(TiedByFunction)
    done = train(draft, Recipe([KernelFusion(rules=("embedding",))]), HOST)
    assert done.outcome is Outcome.NO_EFFECT, done.reason
    assert type(draft.model.embed) is nn.Embedding and "seen" not in vars(draft.model.embed)


class Counts(Wide):
    """Keeps count of its forwards, and reads its table's measures."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.drop = nn.Dropout(0.1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        self.count += 1
        assert (self.embed.num_embeddings, self.embed.embedding_dim, self.embed.padding_idx) == (VOCABULARY, 32, None)
        return {"logits": self.drop(super().forward(input_ids, attention_mask)["logits"])}


def test_looking_through_changes_neither_buffers_nor_random_numbers_and_measures_stay_readable() -> None:
    plain, changed = wide_draft(Counts), wide_draft(Counts)
    train(plain, Recipe(), HOST)
    done = train(changed, Recipe([KernelFusion(rules=("embedding",))]), HOST)
    assert done.outcome is Outcome.PREPARED, done.reason
    for one, two in zip(plain.model.state_dict().values(), changed.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_looking_through_leaves_no_hook_and_no_gradient() -> None:
    draft = wide_draft()
    table = draft.model.embed
    rows.split(draft.model, draft.training)
    assert (
        not table._forward_pre_hooks
        and type(table) is nn.Embedding
        and "seen" not in vars(table)
        and all(p.grad is None for p in draft.model.parameters())
    )


def test_an_embedding_that_forward_does_not_reach_stays_whole() -> None:
    class Aside(TinyAttention):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Embedding(VOCABULARY, 32)

    draft = wide_draft(Aside)
    assert rows.split(draft.model, draft.training) == 0 and type(draft.model.aside) is nn.Embedding
