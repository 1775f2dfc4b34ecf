"""The life of one training, as one enum."""

from __future__ import annotations

from enum import StrEnum


class LoopEvent(StrEnum):
    """Training, in the order of its events; what stands between them is what the loop itself does.

    ::

        FIT_START                                   optimizer, schedule and loss scale exist
        for each epoch:
            EPOCH_START
            for each batch:                         one optimizer step
                BATCH                               which samples; handlers may change `loop.samples`
                  the samples are cut into micro-batches and collated; gradients are cleared
                for each micro-batch:
                    MICRO_START
                    BEFORE_FORWARD
                      forward                       -> `loop.outputs`
                    AFTER_FORWARD
                    BEFORE_LOSS
                      loss                          -> `loop.loss`: a scalar, or one value per sample
                    AFTER_LOSS
                    BEFORE_BACKWARD
                      divide by the items of the whole step, scale, backward
                    AFTER_BACKWARD
                  unscale
                GRADS_READY                         true gradients, not yet clipped: look, veto or roll back here
                  clip
                BEFORE_STEP                         not after a veto
                  optimizer step (left out where the loss scale overflowed)
                AFTER_STEP                          only after a step that was taken
                  loss scale, schedule
                STEP_END                            the position has moved on: save here
            EPOCH_END
        FIT_END                                     always comes, after an error too

    Handlers of an event that :attr:`closes` something run last in, first out, so that what was opened first is closed
    last; handlers of all other events run in the order in which they were added.
    """

    FIT_START = "fit_start"
    EPOCH_START = "epoch_start"
    BATCH = "batch"
    MICRO_START = "micro_start"
    BEFORE_FORWARD = "before_forward"
    AFTER_FORWARD = "after_forward"
    BEFORE_LOSS = "before_loss"
    AFTER_LOSS = "after_loss"
    BEFORE_BACKWARD = "before_backward"
    AFTER_BACKWARD = "after_backward"
    GRADS_READY = "grads_ready"
    BEFORE_STEP = "before_step"
    AFTER_STEP = "after_step"
    STEP_END = "step_end"
    EPOCH_END = "epoch_end"
    FIT_END = "fit_end"

    @property
    def closes(self) -> bool:
        """Whether this event ends what an earlier one began."""
        return self.value.startswith("after_") or self.value.endswith("_end")
