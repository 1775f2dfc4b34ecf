"""What has four dimensions is stored channels-last, all else as before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strop.surgery.layout import channels_last


class PlaneAndVolume(nn.Module):
    """A two-dimensional convolution beside a three-dimensional one, each with a buffer of its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.plane, self.volume, self.shared = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.shared.weight = self.plane.weight
        self.register_buffer("image", torch.randn(2, 3, 5, 5))
        self.register_buffer("film", torch.randn(2, 3, 5, 5, 5))

    def forward(self, image: Tensor, film: Tensor) -> Tensor:
        """Answer (batch, 4)."""
        return self.plane(image).mean((2, 3)) + self.volume(film).mean((2, 3, 4))  # type: ignore[no-any-return]


def test_only_what_has_four_dimensions_is_laid_out() -> None:
    model = PlaneAndVolume()
    image, film = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8, 8)
    wanted, values = model(image, film), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert channels_last(model) is model
    for name, tensor in model.state_dict().items():
        assert tensor.is_contiguous(memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format), name
        assert torch.equal(tensor, values[name])
    torch.testing.assert_close(model(image, film), wanted)
    assert model.shared.weight is model.plane.weight
