"""Images and their weights stored with the channels of a pixel side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def channels_last(model: nn.Module) -> nn.Module:
    """Store the parameters and buffers of four dimensions channels-last, in place; return the model.

    ``Module.to`` would ask the same of those of five dimensions, as of Conv3d, and fail.
    """
    model._apply(_laid_out)  # type: ignore[no-untyped-call]
    return model


def _laid_out(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
