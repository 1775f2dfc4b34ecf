"""Ranks exchange gradients in few bits; what is lost by rounding is added to the next step's gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from strop.surgery.codes import Code, padded
from strop.units import Bytes


class Remainders:
    """What rounding took from each parameter's gradient and has not been sent yet, by the parameter's name.

    By name and not by bucket, since torch fills its buckets in another order from the second step on.
    """

    def __init__(self) -> None:
        self.owed: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what is owed."""
        return dict(self.owed)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.owed = dict(state)


def coded_exchange(
    code: Code, names: Mapping[int, str], remainders: Remainders | None, count: Callable[[Bytes, Bytes], None]
) -> Callable[[Any, Any], Any]:
    """Return the exchange in which each rank hands its coded gradients to all others, and all add them up alike.

    Groups never reach from one parameter into the next, so that the result does not depend on the order of the buckets.
    All ranks decode the same bytes in the same order, and so hold the same gradients bit for bit. A gradient that is not
    finite arrives as such on every rank; it leaves no remainder.

    Args:
        code: how numbers are written.
        names: ``id`` of a parameter → its name.
        remainders: where rounding errors wait for the next step; ``None``: they are lost.
        count: told the bytes handed to the collective, and those that plain gradients would have been.
    """

    def exchange(state: Any, bucket: Any) -> Any:
        buffer, gradients, world = bucket.buffer(), bucket.gradients(), dist.get_world_size()
        owners = [names[id(parameter)] for parameter in bucket.parameters()]
        with torch.no_grad():
            owed = remainders.owed if remainders is not None else {}
            wanted = [grad + owed.get(name, 0.0) for name, grad in zip(owners, gradients, strict=True)]
            pieces = [padded(value) for value in wanted]
            lengths = [len(piece) for piece in pieces]
            message = code.encode(torch.cat(pieces))
            if remainders is not None:
                sent = _parts(code.decode(message), lengths, gradients)
                for name, value, arrived in zip(owners, wanted, sent, strict=True):
                    owed[name] = torch.nan_to_num(value - arrived, 0.0, 0.0, 0.0)
        count(message.nbytes, buffer.nbytes)
        gathered = message.new_empty(world * message.numel())
        work = dist.all_gather_into_tensor(gathered, message, async_op=True)
        assert work is not None

        def finish(done: Any) -> Tensor:
            with torch.no_grad():
                total = torch.zeros(sum(lengths), device=buffer.device)
                for one in gathered.chunk(world):
                    total += code.decode(one)
                for grad, value in zip(gradients, _parts(total / world, lengths, gradients), strict=True):
                    grad.copy_(value)
            return buffer  # type: ignore[no-any-return]

        return work.get_future().then(finish)

    return exchange


def wire_bytes(handed: Bytes, plain: Bytes, world: int) -> tuple[Bytes, Bytes]:
    """Return what each rank sends: its message to all others; and in a ring that sums plain gradients."""
    return (world - 1) * handed, 2 * (world - 1) * plain // world


def break_even(code: Code) -> int:
    """Return the number of ranks from which on sending messages to all costs as much as a ring that sums plain gradients."""
    return -int(-2 / code.share // 1)


def _parts(flat: Tensor, lengths: list[int], like: list[Tensor]) -> list[Tensor]:
    """Cut into sections and shape each like its gradient."""
    return [piece[: grad.numel()].view(grad.shape) for piece, grad in zip(torch.split(flat, lengths), like, strict=True)]
