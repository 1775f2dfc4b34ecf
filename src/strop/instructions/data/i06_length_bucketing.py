"""Instruction 06: batches of samples of similar length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, final

import numpy as np

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Samples, Training
from strop.contract.workload import TrainingWorkload
from strop.measure.host import Host

T = TypeVar("T")


@final
@dataclass(frozen=True, kw_only=True)
class LengthBucketing(Instruction):
    """Fill each batch with samples of similar length, so that little of it is padding.

    What it does:
        Shuffles the samples anew each epoch, sorts them by length within windows of ``window`` batches, cuts the windows
        into batches of at most ``max_batch_size`` samples and, where ``max_tokens`` is given, of at most so many tokens,
        padding included; then it shuffles the batches. Each sample comes exactly once an epoch. The loss counts the items of
        each step, so batches of different size do not weigh samples differently within a step. Where ``split_tokens`` is
        given, a batch whose lengths still differ goes forward in several micro-batches of similar length, whose gradients
        are added up: the step is the same, with less padding.

    Why it helps:
        A batch is padded to its longest sample, and padding costs as much as text. In batches of mixed lengths half the
        tokens can be padding.

    When it does not:
        All samples have one length; a collate function that pads to a fixed length; attention kernels that skip padding.
        Batches are less mixed than random ones, which can cost accuracy: small windows mix more and save less. Each
        micro-batch costs the launching of all kernels once more, and batch norms see only their own micro-batch.

    Settings:
        max_batch_size: samples per batch at most; unset: as many as the workload asks for (samples).
        max_tokens: samples times longest sample of a batch at most; unset: no limit (tokens).
        window: batches among which samples are sorted; larger saves more padding and mixes less (batches).
        split_tokens: cut a batch in two where that saves at least so many tokens of padding, and the halves likewise; unset:
            never (tokens).

    References:
        Khomenko et al., Accelerating Recurrent Neural Network Training Using Sequence Bucketing, 2016.
        Ott et al., Scaling Neural Machine Translation, WMT 2018, section 3 (batches by tokens).
    """

    card = Card(aims=frozenset({Aim.THROUGHPUT}), fidelity=Fidelity.LOSSY, prior=1.3, aliases=("bucketing", "group_by_length"))

    max_batch_size: int | None = None
    max_tokens: int | None = None
    window: Annotated[int, Choices(50, 10)] = 50
    split_tokens: Annotated[int | None, Choices(None, 128)] = None

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_tokens", "window", "split_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def ties(self) -> Ties:
        """Need a training workload."""
        return ties(needs=(Trait.TRAINING,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline where lengths are unknown or all alike, and where one sample alone exceeds the token budget."""
        workload = draft.workload
        if not isinstance(workload, TrainingWorkload) or workload.length is None:
            return "the workload does not say how long a sample is; give TrainingWorkload(length=lambda sample: …)"
        if not draft.facts.dynamic:
            return "all samples have one length, so no batch holds padding that sorting could save"
        lengths = _lengths(workload)
        if self.max_tokens is not None and max(lengths) > self.max_tokens:
            return f"sample {lengths.index(max(lengths))} is {max(lengths)} long, more than max_tokens={self.max_tokens}"
        return None

    def at_data(self, draft: Draft, tally: Tally) -> None:
        """Replace the batches; count the padding of the first epoch that is saved."""
        plan, workload = draft.training, draft.workload
        assert plan is not None and isinstance(workload, TrainingWorkload)
        lengths, size = _lengths(workload), self.max_batch_size or workload.batch_size
        before = padding(plan, lengths)
        seed = draft.seed

        def batches(epoch: int) -> list[Samples]:
            random = np.random.default_rng([seed, epoch])
            mixed = [int(number) for number in random.permutation(len(lengths))]
            found = [
                batch
                for start in range(0, len(mixed), size * self.window)
                for batch in similar(mixed[start : start + size * self.window], lengths.__getitem__, size, self.max_tokens)
            ]
            return [found[place] for place in random.permutation(len(found))]

        plan.batches = batches
        least, split = self.split_tokens, plan.split
        if least is not None:
            plan.split = lambda samples: [
                piece for part in split(samples) for piece in pieces(sorted(part, key=lengths.__getitem__), lengths, least)
            ]
        tally.add("padding tokens saved per epoch", max(0, before - padding(plan, lengths)))


def dynamic_batching(
    samples: Sequence[T], max_batch_size: int, *, length: Callable[[Any], int] = len, max_tokens: int | None = None
) -> list[list[T]]:
    """Group samples of similar length into batches, shortest first.

    Args:
        samples: anything that has a length.
        max_batch_size: samples per batch at most.
        length: sample → its length.
        max_tokens: samples times longest sample of a batch at most; ``None``: no limit.

    Raises:
        ValueError: a sample alone exceeds ``max_tokens``, or a limit is below 1.
    """
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
    longest = max(map(length, samples), default=0)
    if max_tokens is not None and longest > max_tokens:
        raise ValueError(f"a sample is {longest} long, more than max_tokens={max_tokens}; raise it, or cut the sample")
    return similar(samples, length, max_batch_size, max_tokens)


def similar(samples: Sequence[T], length: Callable[[T], int], size: int, tokens: int | None) -> list[list[T]]:
    """Sort by length and cut into batches of at most ``size`` samples and ``tokens`` tokens, padding included."""
    batches: list[list[T]] = []
    for sample in sorted(samples, key=length):
        full = not batches or len(batches[-1]) == size
        if full or (tokens is not None and (len(batches[-1]) + 1) * length(sample) > tokens):
            batches.append([])
        batches[-1].append(sample)
    return batches


def pieces(samples: Samples, lengths: Sequence[int], least: int) -> list[Samples]:
    """Cut samples, shortest first, where that saves the most padding, again and again while it saves ``least`` tokens."""
    if len(samples) < 2:
        return [samples]
    longest = lengths[samples[-1]]
    saved = [(place + 1) * (longest - lengths[number]) for place, number in enumerate(samples)]
    place = max(range(len(samples)), key=saved.__getitem__)
    if saved[place] < least:
        return [samples]
    return [*pieces(samples[: place + 1], lengths, least), *pieces(samples[place + 1 :], lengths, least)]


def padding(plan: Training, lengths: Sequence[int]) -> int:
    """Return how many tokens of the first epoch are padding, each micro-batch padded to its longest sample."""
    parts = [[lengths[number] for number in part] for batch in plan.batches(0) for part in plan.split(batch)]
    return sum(len(part) * max(part) - sum(part) for part in parts)


def _lengths(workload: TrainingWorkload) -> list[int]:
    assert workload.length is not None
    return [workload.length(workload.data[number]) for number in range(len(workload.data))]
