"""Recomputed blocks: the same gradients and weights to the bit, fewer bytes kept, nothing left on the trained model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import Draft
from strop.contract.moment import Moment
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.errors import PrepareError
from strop.instructions.training.i23_gradient_checkpointing import GradientCheckpointing
from strop.measure.host import Host
from strop.pipeline import train, walk
from strop.surgery.recompute import Recomputing
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import TinyAttention, training_draft

HOST = Host(cpu="test", cores=2)
DEPTH = 6


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.drop, self.down = nn.LayerNorm(32), nn.Linear(32, 128), nn.Dropout(0.1), nn.Linear(128, 32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.drop(torch.nn.functional.gelu(self.up(self.norm(x)))))


class Deep(nn.Module):
    """An embedding, layers that repeat, a head."""

    def __init__(self, layers: list[nn.Module] | None = None) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 32), nn.Linear(32, 3)
        self.layers = nn.ModuleList(layers or [Layer() for _ in range(DEPTH)])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return {"logits": self.head(x.mean(1))}


def build() -> Deep:
    torch.manual_seed(0)
    return Deep()


def deep_draft() -> Draft:
    return training_draft(model=build)


class Silent(nn.Module):
    """A block with a weight that keeps nothing for backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Identity())
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + self.shift)  # type: ignore[no-any-return]


def silent_draft() -> Draft:
    return training_draft(model=lambda: Deep([Silent(), Silent()]))


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=GradientCheckpointing(),
        draft=deep_draft,
        foreign=training_draft,
        idle=(GradientCheckpointing(), silent_draft),
    )


def weights(draft: Draft) -> list[Tensor]:
    return list(draft.model.state_dict().values())


def test_the_trained_weights_are_bit_equal_and_nothing_stays_on_the_model() -> None:
    plain, other = deep_draft(), deep_draft()
    names = list(other.model.state_dict())
    train(plain, Recipe(), HOST)
    done = train(other, Recipe([GradientCheckpointing()]), HOST)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(other), strict=True))
    assert list(other.model.state_dict()) == names
    assert not any("forward" in vars(module) for module in other.model.modules())
    assert done.tallies["gradient_checkpointing"]["blocks recomputed"] == DEPTH


def test_recomputing_all_blocks_frees_most_of_what_is_kept_and_half_of_them_less() -> None:
    def freed(share: float) -> tuple[int, int]:
        draft, tally = deep_draft(), Tally()
        GradientCheckpointing(share=share).at_recompute(draft, tally)
        counts = tally.to_json()
        return counts["blocks recomputed"], counts["bytes no longer kept"]

    (all_blocks, most), (some, less) = freed(1.0), freed(0.5)
    assert (all_blocks, some) == (DEPTH, DEPTH // 2)
    assert most > 1.8 * less > 0


def test_named_blocks_are_taken_as_named_and_a_wrong_name_gets_the_nearest() -> None:
    draft, tally = deep_draft(), Tally()
    GradientCheckpointing(blocks=("layers.2",)).at_recompute(draft, tally)
    wrapped = [name for name, module in draft.model.named_modules() if isinstance(vars(module).get("forward"), Recomputing)]
    assert wrapped == ["layers.2"]
    with pytest.raises(PrepareError, match=r"no module 'layers\.22'\. Did you mean 'layers\.2'"):
        GradientCheckpointing(blocks=("layers.22",)).at_recompute(deep_draft(), tally)


def test_preparing_leaves_weights_buffers_and_random_numbers_alone() -> None:
    draft, before = deep_draft(), torch.get_rng_state()
    walk(draft, Recipe([GradientCheckpointing()]), Moment.RECOMPUTE)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(weights(draft), build().state_dict().values(), strict=True))


def test_models_without_repeated_blocks_are_declined_in_words() -> None:
    assert "repeats no block" in str(GradientCheckpointing().decline(training_draft(model=TinyAttention), HOST))
    norms: list[nn.Module] = [nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32)) for _ in range(3)]
    assert "without batch norms" in str(GradientCheckpointing().decline(training_draft(model=lambda: Deep(norms)), HOST))


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
        GradientCheckpointing(share=share)
