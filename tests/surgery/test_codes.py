"""Numbers in few bits: half a scale of error at most, bytes as promised, and nothing finite where something was not."""

from __future__ import annotations

import pytest
import torch

from strop.measure.memory import tensor_peak
from strop.surgery.codes import GROUP, PIECE, Code, padded

BOTH = pytest.mark.parametrize("bits", [4, 8])


@BOTH
@pytest.mark.parametrize("count", [1, GROUP - 1, GROUP, 10 * GROUP + 3, PIECE, 2 * PIECE + 5])
def test_what_comes_back_departs_by_half_a_scale_at_most(bits: int, count: int) -> None:
    numbers = torch.randn(count, generator=torch.Generator().manual_seed(0)) * 1e-6  # below what float16 can scale
    message = Code(bits).encode(numbers)
    back = Code(bits).decode(message)
    scales = Code(bits).scales(message).repeat_interleave(GROUP)
    assert ((back - padded(numbers)).abs() <= 0.501 * scales).all()
    assert (scales[:count].max() <= 1.01 * numbers.abs().max() / (2 ** (bits - 1) - 1)).item()
    assert torch.equal(back[count:], torch.zeros(len(back) - count))


@BOTH
def test_a_message_has_the_promised_share_of_the_bytes(bits: int) -> None:
    message = Code(bits).encode(torch.randn(100 * GROUP))
    assert message.dtype == torch.uint8
    assert message.nbytes == Code(bits).share * 4 * 100 * GROUP
    assert Code(4).share == pytest.approx(0.1328, abs=1e-4) and Code(8).share == pytest.approx(0.2578, abs=1e-4)


@BOTH
def test_largest_magnitudes_zeros_and_signs_survive(bits: int) -> None:
    numbers = torch.zeros(2 * GROUP)
    numbers[3], numbers[4] = 1.0, -1.0
    back = Code(bits).decode(Code(bits).encode(numbers))
    assert torch.allclose(back, numbers, atol=4e-3)
    assert torch.equal(back[GROUP:], torch.zeros(GROUP)) and back.count_nonzero() == 2


@BOTH
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_of_a_group_with_a_bad_number_nothing_finite_is_left_and_the_others_are_well(bits: int, bad: float) -> None:
    numbers = torch.randn(3 * GROUP)
    numbers[GROUP + 5] = bad
    message = Code(bits).encode(numbers)
    finite = Code(bits).decode(message).isfinite().view(3, GROUP)
    assert finite[0].all() and finite[2].all() and not finite[1].any()
    assert Code(bits).scales(message).isfinite().tolist() == [True, False, True]


@BOTH
def test_writing_and_reading_need_little_memory_beside_their_result(bits: int) -> None:
    numbers = torch.randn(20 * PIECE)
    message = Code(bits).encode(numbers)
    assert tensor_peak(lambda: Code(bits).encode(numbers)) < message.nbytes + 0.35 * numbers.nbytes
    assert tensor_peak(lambda: Code(bits).decode(message)) < 1.35 * numbers.nbytes
