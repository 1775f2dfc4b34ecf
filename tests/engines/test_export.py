from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from strop.engines.export import export_leaves, export_program
from strop.errors import PrepareError


def test_varying_dimensions_stay_free_and_fixed_ones_fixed(tiny: SimpleNamespace) -> None:
    program = export_program(tiny.draft(tiny.bert(), [tiny.tokens(4, 16), tiny.tokens(1, 9)]))
    call = tiny.tokens(3, 30)
    with torch.no_grad():
        assert program.module()(call["input_ids"], call["attention_mask"])[0].shape == (3, 2)
    shapes = [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name.startswith("leaves")]
    assert all(not isinstance(size, int) for shape in shapes for size in shape)


def test_the_example_for_export_has_no_varying_dimension_below_two(tiny: SimpleNamespace) -> None:
    only_ones = tiny.draft(tiny.PerToken(), [(torch.ones(1, n, dtype=torch.long), torch.ones(1, n)) for n in (1, 3)])
    ids, mask = export_leaves(only_ones)
    assert ids.shape == mask.shape == (1, 3), "the batch never varies, so it is left alone"
    crossed = tiny.draft(tiny.PerToken(), [(torch.ones(b, n, dtype=torch.long), torch.ones(b, n)) for b, n in ((1, 7), (5, 1))])
    assert min(export_leaves(crossed)[0].shape) >= 2


def test_a_size_that_the_code_fixes_is_a_prepare_error_that_names_the_input(tiny: SimpleNamespace) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum() * int(x.shape[0])

    class Reads(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(4) + x if x.shape[0] == 4 else x

    for model in (Reads(), Fixed()):
        with pytest.raises(PrepareError, match="fixes dimension 0 of input args_0 at 4"):
            export_program(tiny.draft(model, [torch.randn(4), torch.randn(2)]))


def test_autocast_becomes_part_of_the_graph_and_answers_stay_float32(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16), torch.randn(3, 16)])
    assert "bfloat16" not in str(export_program(draft).graph)
    program = export_program(draft, bfloat16=True)
    assert "bfloat16" in str(program.graph)
    assert program.module()(torch.randn(4, 16))[0].dtype == torch.float32


@pytest.mark.parametrize("how", ["assigned", "in place", "no buffer"])
def test_a_model_that_keeps_state_is_not_exported(how: str, tiny: SimpleNamespace) -> None:
    """The graph would answer each call as if it were the first one, and agree with the original on single calls."""

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("hidden", torch.zeros(1))
            self.seen = torch.zeros(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if how == "assigned":
                self.hidden = self.hidden + x.mean()
            elif how == "in place":
                self.hidden += x.mean()
            else:
                self.seen = self.seen + x.mean()
            return x + self.hidden + self.seen

    with pytest.raises(PrepareError, match="Counting keeps state"):
        export_program(tiny.draft(Counting(), [torch.randn(2, 3), torch.randn(3, 3)]))


def test_random_numbers_are_no_state(tiny: SimpleNamespace) -> None:
    class Noisy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    program = export_program(tiny.draft(Noisy(), [torch.randn(2, 3), torch.zeros(3, 3)]))
    assert "randn" in str(program.graph)


def test_a_model_that_fails_on_the_stretched_example_is_a_prepare_error(tiny: SimpleNamespace) -> None:
    class OnlyOne(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if 2 in (len(x), len(y)):
                raise ValueError("no two")
            return x.sum() + y.sum()

    draft = tiny.draft(OnlyOne(), [(torch.ones(1), torch.ones(3)), (torch.ones(3), torch.ones(1))])
    with pytest.raises(PrepareError, match="OnlyOne fails on the example that it is to be exported with: no two"):
        export_program(draft)
