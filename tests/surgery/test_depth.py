"""The stack is found, some of its blocks stay, and the model goes on answering."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from strop.surgery.depth import blocks_of, chosen, keep_blocks, stack_of
from strop.testing.models import Block, Deep, Mlp


def test_the_stack_is_the_longest_list_of_like_blocks() -> None:
    model = nn.Module()
    model.short, model.long = nn.ModuleList(Block(4) for _ in range(2)), nn.Sequential(*(Block(4) for _ in range(3)))
    assert stack_of(model) == "long" and len(blocks_of(model)) == 3


@pytest.mark.parametrize(
    "model",
    [
        Mlp(),
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
        nn.ModuleDict({"mixed": nn.ModuleList([Block(4), nn.Sequential(Block(4)), Block(4)])}),
        nn.ModuleDict({"bare": nn.ModuleList(nn.Linear(4, 4) for _ in range(3))}),
        Deep(blocks=1),
    ],
    ids=["none", "the model itself", "unlike blocks", "bare layers", "a single block"],
)
def test_a_model_without_a_stack_has_none(model: nn.Module) -> None:
    assert stack_of(model) is None and blocks_of(model) == []
    with pytest.raises(ValueError, match="no stack"):
        keep_blocks(model, [0])


@pytest.mark.parametrize(
    ("count", "kept", "choice", "places"),
    [
        (6, 4, "spread", [0, 1, 3, 4]),
        (6, 3, "spread", [0, 2, 4]),
        (6, 1, "spread", [0]),
        (6, 6, "spread", [0, 1, 2, 3, 4, 5]),
        (6, 4, "first", [0, 1, 2, 3]),
        (6, 4, "last", [2, 3, 4, 5]),
    ],
)
def test_which_blocks_stay(count: int, kept: int, choice: str, places: list[int]) -> None:
    assert chosen(count, kept, choice) == places  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [0, 7])
def test_more_or_less_than_there_are_cannot_stay(kept: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 6"):
        chosen(6, kept, "spread")


def test_what_stays_answers_as_those_blocks_do_one_after_the_other() -> None:
    model, x = Deep(), torch.randn(2, 8)
    first, third = model.blocks[0], model.blocks[2]
    wanted = model.head(third(first(model.up(x))))
    assert keep_blocks(model, [0, 2]) == 2
    assert torch.equal(model(x), wanted) and set(model.state_dict()) == set(Deep(blocks=2).state_dict())


def test_numbers_of_blocks_in_configuration_and_blocks_follow() -> None:
    model = Deep()
    model.config = SimpleNamespace(num_hidden_layers=4, other=4)
    for number, block in enumerate(model.blocks):
        block.turn.layer_idx = number
    keep_blocks(model, [1, 3])
    assert model.config.num_hidden_layers == 2 and model.config.other == 4
    assert [block.turn.layer_idx for block in model.blocks] == [0, 1]


class AddsUp(nn.Sequential):
    """Adds up what its blocks answer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer a tensor of the same shape."""
        return torch.stack([block(x) for block in self]).sum(0)


class Reversed(nn.ModuleList):
    """Calls its blocks from the last to the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer a tensor of the same shape."""
        for block in reversed(self):
            x = block(x)
        return x


@pytest.mark.parametrize("kind", [AddsUp, Reversed])
def test_a_stack_of_its_own_class_goes_on_answering_as_that_class_does(kind: type[nn.Module]) -> None:
    blocks, x = [Block(8) for _ in range(4)], torch.randn(2, 8)
    model = nn.Sequential(nn.Linear(8, 8), kind(*blocks) if kind is AddsUp else kind(blocks))
    model[1].note = "kept"
    keep_blocks(model, [0, 2])
    first, second = blocks[0](model[0](x)), blocks[2](model[0](x))
    wanted = first + second if kind is AddsUp else blocks[0](second)
    assert type(model[1]) is kind and model[1].note == "kept" and [name for name, _ in model[1].named_children()] == ["0", "1"]
    torch.testing.assert_close(model(x), wanted)


def test_the_mode_stays() -> None:
    model = Deep().eval()
    keep_blocks(model, [0])
    assert not model.blocks.training
