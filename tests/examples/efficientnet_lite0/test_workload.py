from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from examples.data import ChecksumError
from examples.efficientnet_lite0 import workload as example
from examples.efficientnet_lite0.workload import Crops, Picture
from strop.contract.examples import digest
from strop.contract.quality import scores


@pytest.fixture(scope="module")
def lite0(real):
    return real(example.workload)


@pytest.fixture(scope="module")
def model(real):
    return real(example.build)


def test_model_and_preprocessing_are_right_on_the_labelled_pictures(real, model) -> None:
    assert real(lambda: example.labelled_top1(model)) == (18, 20)


def test_every_picture_is_the_pinned_one(real) -> None:
    listed = example.pictures()
    assert len(listed) == len({picture.sha256 for picture in listed}) == 37
    for picture in listed:
        assert real(lambda picture=picture: example._open(picture)).mode == "RGB"


def test_another_picture_under_the_same_name_is_refused(real) -> None:
    picture = example.pictures()[0]
    real(lambda: example._open(picture))
    with pytest.raises(ChecksumError, match="imagenet_00_243"):
        example._open(replace(picture, sha256="0" * 64))


def test_no_source_serves_two_splits(lite0) -> None:
    sources = {name: set(split.sources) for name, split in lite0.splits.items()}
    assert {name: len(found) for name, found in sources.items()} == {"calibration": 6, "screening": 9, "confirming": 21}
    assert not sources["calibration"] & sources["screening"]
    assert not (sources["calibration"] | sources["screening"]) & sources["confirming"]


def test_both_packages_stand_in_every_split(lite0) -> None:
    for split in lite0.splits.values():
        assert {source.split("/")[0] for source in split.sources} == {"foolbox", "skimage"}


def test_splits_have_their_sizes_and_one_source_per_input(lite0) -> None:
    assert {name: len(split.inputs) for name, split in lite0.splits.items()} == {
        "calibration": 120,
        "screening": 140,
        "confirming": 336,
    }
    assert all(len(split.sources) == len(split.inputs) for split in lite0.splits.values())


def test_a_stereo_pair_is_one_source() -> None:
    left, right = Picture("skimage", "data/motorcycle_left.png", "a"), Picture("skimage", "data/motorcycle_right.png", "b")
    assert left.source == right.source == "skimage/motorcycle"
    parts = example.split([left, right])
    assert [len(part) for part in parts.values()] == [2, 0, 0]


def test_labels_stand_in_the_names() -> None:
    assert Picture("foolbox", "data/imagenet_03_990.jpg", "").label == 990
    assert Picture("skimage", "data/coffee.png", "").label is None


def test_operating_points_have_their_shapes(lite0) -> None:
    assert {tuple(inputs.shape) for inputs in lite0.inputs["batch 1"]} == {(1, 3, 224, 224)}
    assert {tuple(inputs.shape) for inputs in lite0.inputs["batch 8"]} == {(8, 3, 224, 224)}
    assert {inputs.dtype for inputs in lite0.inputs["batch 1"]} == {torch.float32}


def test_crops_of_one_picture_differ_but_are_the_same_every_time(real) -> None:
    picture = example.pictures()[0]
    crops = real(lambda: [Crops([picture], 6)[number] for number in range(6)])
    assert len({digest(crop) for crop in crops}) == 6
    assert [digest(Crops([picture], 6)[number]) for number in range(6)] == [digest(crop) for crop in crops]


def test_crops_end_where_a_sequence_ends(real) -> None:
    crops = Crops(example.pictures()[:1], 2)
    assert len(list(real(lambda: list(crops)))) == 2
    with pytest.raises(IndexError):
        crops[2]


def test_pixels_are_scaled_as_the_model_was_trained() -> None:
    grey = Image.fromarray(np.full((300, 400, 3), 191, dtype=np.uint8))
    tensor = example.preprocess(grey)
    assert tensor.shape == (1, 3, 224, 224)
    torch.testing.assert_close(tensor, torch.full((1, 3, 224, 224), 0.5))


def test_channels_come_first_and_in_the_order_red_green_blue() -> None:
    red = np.zeros((256, 256, 3), dtype=np.uint8)
    red[..., 0] = 255
    means = example.preprocess(Image.fromarray(red)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([1.0, -127 / 128, -127 / 128]))


def test_the_standard_crop_is_the_centre_and_random_ones_stay_inside() -> None:
    board = np.zeros((256, 512, 3), dtype=np.uint8)
    board[16:240, 144:368] = 255
    assert float(example.preprocess(Image.fromarray(board)).min()) == 1.0
    board = np.full((256, 512, 3), 255, dtype=np.uint8)
    draws = [example.preprocess(Image.fromarray(board), random.Random(seed)) for seed in range(20)]
    assert all(float(drawn.min()) == 1.0 for drawn in draws)


def test_the_original_agrees_with_itself(model, lite0) -> None:
    with torch.inference_mode():
        answers = [model(inputs) for inputs in lite0.inputs["batch 8"]]
    assert answers[0].shape == (8, 1000)
    assert scores(lite0.quality, answers, answers).mean() == 1.0


def test_the_model_is_ready_to_infer(model) -> None:
    assert not model.training
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008
