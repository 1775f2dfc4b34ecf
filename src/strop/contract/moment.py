"""The life of a trial, as one enum."""

from __future__ import annotations

from enum import IntEnum


class Moment(IntEnum):
    """The life of a trial, in order.

    ::

        DATA        samples, weights, samplers, augmentation
        SOURCE      which network: a student, a found architecture
        RESHAPE     fewer channels, heads, layers
        ADAPT       adapters, gates, fake-quantisers
        SHARD       tensor or pipeline parallel over ranks
        RECOMPUTE   checkpointing, packing of saved tensors
        COMPILE     torch.compile for training
        WRAP        DDP, FSDP, privacy engine
        OPTIMIZE    optimizer, parameter groups, schedule
        LOOP        losses, handlers of loop events, micro-batch policy, driver
          -- FIT: the pipeline trains once, if anyone asked for it (shared by all) --
        FINISH      convert, merge, remove gates: last in, first out; wrapping is undone
        FREEZE      inference-only surgery: folding, layout
        LOWER       intents for the engine: precision, quantisation, rewrites -> the cached artefact
        ENGINE      options of opening it: threads, streams, hints (not part of the artefact)
        SERVE       batching, priorities, filters, scaling

    An instruction acts at a moment by defining the method :attr:`method`, for instance ``at_lower``.
    """

    DATA = 0
    SOURCE = 1
    RESHAPE = 2
    ADAPT = 3
    SHARD = 4
    RECOMPUTE = 5
    COMPILE = 6
    WRAP = 7
    OPTIMIZE = 8
    LOOP = 9
    FINISH = 10
    FREEZE = 11
    LOWER = 12
    ENGINE = 13
    SERVE = 14

    @property
    def method(self) -> str:
        """Name of the method by which an instruction acts at this moment."""
        return f"at_{self.name.lower()}"
