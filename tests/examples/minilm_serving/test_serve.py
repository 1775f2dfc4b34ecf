"""The example is a serving workload of sentences at their natural lengths; its bundle is made once, or named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.minilm_serving import serve
from strop.catalogue import read_recipe

HERE = Path(serve.__file__).parent


def test_its_requests_are_single_sentences_of_their_own_lengths(
    real: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STROP_BUNDLE", str(tmp_path / "named"))
    monkeypatch.setenv("STROP_RATE", "123/s")
    workload = real(serve.workload)
    assert workload.bundle == tmp_path / "named" and workload.per_second == 123 and workload.within == 0.1
    shapes = [example["input_ids"].shape for example in workload.inputs]
    assert len(shapes) == serve.SENTENCES and {rows for rows, _ in shapes} == {1} and len({length for _, length in shapes}) > 20


def test_the_recipe_of_its_bundle_can_be_read() -> None:
    assert [instruction.number for instruction in read_recipe(HERE / "bundle.yaml")] == [47]
