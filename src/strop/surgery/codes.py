"""Numbers in few bits: groups of neighbours share a scale, and each number is a multiple of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

GROUP = 64
"""Numbers that share a scale: 2 bytes for 64 of them, so that 4 bits a number are 13.3 % of float32."""

PIECE = 1024 * GROUP
"""Numbers worked on at once: what is written in few bits to save memory should not need a multiple of it meanwhile."""

LEAST = 1e-30
"""Smallest scale, so that a group of zeros has one."""


@dataclass(frozen=True, slots=True)
class Code:
    """A way to write numbers in ``bits`` bits, 4 or 8.

    A number becomes ``round(number / scale)``, which departs from it by half a scale at most; the scale is the group's
    largest magnitude over ``2**(bits - 1) - 1``, itself kept as bfloat16, whose range is that of float32 (gradients are
    often smaller than what float16 can hold). Of a group with a NaN or an infinity nothing finite is left, so that whoever
    looks for them still finds them.
    """

    bits: int

    @property
    def share(self) -> float:
        """Bytes of a message relative to float32."""
        return (self.bits / 8 + 2 / GROUP) / 4

    def encode(self, numbers: Tensor) -> Tensor:
        """Write a tensor of numbers as one message of bytes; the last group is filled up with zeros."""
        flat = numbers.reshape(-1)
        groups = -(-flat.numel() // GROUP)
        message = flat.new_empty(groups * (GROUP * self.bits // 8 + 2), dtype=torch.uint8)
        codes, scales = message[: self._cut(message)], message[self._cut(message) :]
        for start in range(0, flat.numel(), PIECE):
            code, scale = self._encode(padded(flat[start : start + PIECE].float()).view(-1, GROUP))
            codes[start * self.bits // 8 :][: len(code)] = code
            scales[start // GROUP * 2 :][: len(scale)] = scale
        return message

    def decode(self, message: Tensor) -> Tensor:
        """Read the numbers back, flat and as float32; with what the last group was filled up with."""
        codes, scales = message[: self._cut(message)], self.scales(message)
        numbers = message.new_empty(scales.numel() * GROUP, dtype=torch.float32)
        for start in range(0, numbers.numel(), PIECE):
            code = codes[start * self.bits // 8 : (start + PIECE) * self.bits // 8]
            if self.bits == 4:
                code = torch.stack([code & 15, code >> 4], 1).view(-1)
            scale = scales[start // GROUP : (start + PIECE) // GROUP, None]
            numbers[start : start + PIECE] = ((code.float() - self._top).view(-1, GROUP) * scale).view(-1)
        return numbers

    def scales(self, message: Tensor) -> Tensor:
        """Read the scales of the groups; they are finite where the numbers were."""
        return message[self._cut(message) :].clone().view(torch.bfloat16).float()  # a copy begins at an even address

    @property
    def _top(self) -> int:
        return 2 ** (self.bits - 1) - 1  # type: ignore[no-any-return]

    def _cut(self, message: Tensor) -> int:
        """Return where the codes end and the scales begin."""
        codes = GROUP * self.bits // 8
        return message.numel() // (codes + 2) * codes

    def _encode(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        top = self._top
        scales = (groups.abs().amax(1, keepdim=True) / top).clamp_min(LEAST).bfloat16()
        codes = (torch.nan_to_num(groups / scales.float()).round_().clamp_(-top, top) + top).to(torch.uint8).view(-1)
        if self.bits == 4:
            codes = codes[0::2] | (codes[1::2] << 4)
        return codes, scales.view(-1).view(torch.uint8)


def padded(numbers: Tensor) -> Tensor:
    """Flatten, and fill up with zeros to a multiple of :data:`GROUP`."""
    flat = numbers.reshape(-1)
    return functional.pad(flat, (0, -flat.numel() % GROUP)) if flat.numel() % GROUP else flat
