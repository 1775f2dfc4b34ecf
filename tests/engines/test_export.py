from __future__ import annotations

from collections.abc import Callable
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


class Branching(torch.nn.Module):
    """Answers otherwise by a size of its input."""

    def __init__(self, longer: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.longer = longer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if self.longer(x) else x + 1


@pytest.mark.parametrize(
    ("longer", "sizes", "words"),
    [
        (lambda x: x.shape[1] > 256, (300, 30), r"dimension 1 of input args_0 is 30 in .*for args_0\.shape\[1\] >= 257 and"),
        (lambda x: x.shape[1] <= 256, (300, 30), r"dimension 1 of input args_0 is 30 in .*for args_0\.shape\[1\] >= 257 and"),
        (lambda x: x.shape[1] % 2 == 0, (300, 31), r"dimension 1 of input args_0 is 31 in .*for args_0\.shape\[1\] % 2 == 0 and"),
        (lambda x: x.shape[1] == 1, (300, 1), r"dimension 1 of input args_0 is 1 in .* holds for sizes of 2 or more and"),
    ],
    ids=["above", "below", "even", "one"],
)
def test_a_branch_over_a_size_with_examples_on_both_sides_is_a_prepare_error_that_names_the_size(
    longer: Callable[[torch.Tensor], bool], sizes: tuple[int, int], words: str, tiny: SimpleNamespace
) -> None:
    """Or the exporter keeps the traced side in silence, and the graph answers the other side's inputs in the wrong way."""
    with pytest.raises(PrepareError, match=words + " there answers otherwise. Write the model without"):
        export_program(tiny.draft(Branching(longer), [torch.randn(2, size) for size in sizes]))


def test_a_branch_is_exported_where_all_examples_are_on_one_side_of_it_or_both_sides_answer_alike(tiny: SimpleNamespace) -> None:
    program = export_program(tiny.draft(Branching(lambda x: x.shape[1] > 256), [torch.randn(2, size) for size in (400, 300)]))
    assert torch.equal(program.module()(torch.ones(2, 500))[0], torch.full((2, 500), 2.0))

    class Alike(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.shape[1] > 256 else x + x

    for bfloat16 in (False, True):
        program = export_program(tiny.draft(Alike(), [torch.randn(2, size) for size in (300, 30, 1)]), bfloat16=bfloat16)
        with pytest.raises(AssertionError, match="Guard failed"):
            program.module()(torch.ones(2, 30))


def test_a_last_feature_map_of_one_pixel_does_not_stand_in_the_way(tiny: SimpleNamespace) -> None:
    """The exporter assumes that it has more, without a consequence for the answer."""
    draft = tiny.draft(tiny.Conv(), [torch.randn(2, 3, size, size) for size in (9, 4)])
    for bfloat16 in (False, True):
        program = export_program(draft, bfloat16=bfloat16)
        assert any("!= 1" in line for line in program._guards_code), "it has assumed so"


def test_a_graph_that_fails_on_an_example_is_a_prepare_error_that_names_the_size(tiny: SimpleNamespace) -> None:
    class Halves(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, -1) if x.shape[0] % 2 == 0 else x.reshape(1, -1)

    with pytest.raises(PrepareError, match=r"dimension 0 of input args_0 is 3 in .* and there fails: "):
        export_program(tiny.draft(Halves(), [torch.randn(4), torch.randn(3)]))


def test_the_examples_are_as_before_where_a_model_writes_into_its_input(tiny: SimpleNamespace) -> None:
    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp_(min=0) + 1

    examples = [-torch.ones(3, 4), -torch.ones(1, 4)]
    draft = tiny.draft(Writes(), [example.clone() for example in examples])
    draft.examples = examples
    export_program(draft)
    assert torch.equal(examples[1], -torch.ones(1, 4))
