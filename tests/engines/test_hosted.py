"""From the processor's memory to an accelerator and back; what only an accelerator can show is in tests/cuda."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from strop.engines.hosted import check_present, device_of, hosted, to_host
from strop.errors import ArtefactError


def test_a_call_goes_there_and_its_answer_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    def device(name: str) -> contextlib.AbstractContextManager[None]:
        entered.append(name)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.cuda, "device", device)
    run = hosted(lambda leaves: [leaf + 1 for leaf in leaves], "cpu")
    (answer,) = run([torch.zeros(2)])
    assert torch.equal(answer, torch.ones(2)) and entered == ["cpu"]


def test_a_copy_shares_no_memory_and_what_is_no_tensor_is_left_alone() -> None:
    tensor, array = torch.zeros(2), np.zeros(2)
    assert to_host(tensor) is tensor
    assert to_host(tensor, copy=True).data_ptr() != tensor.data_ptr()
    assert to_host(array, copy=True) is array


def test_artefacts_from_before_there_were_devices_are_the_processors() -> None:
    assert device_of({"precision": None}) == "cpu"


def test_what_was_prepared_for_a_device_that_is_not_here_says_what_to_do() -> None:
    with pytest.raises(
        ArtefactError, match=r"prepared for cuda:97: open it where there is one.* or prepare it again .* device='cpu'"
    ):
        device_of({"device": "cuda:97"})


@pytest.mark.parametrize("device", ["gpu", None, 3])
def test_a_device_that_is_none_is_a_damaged_artefact(device: object) -> None:
    with pytest.raises(ArtefactError, match="names no device that strop knows"):
        check_present(device)
