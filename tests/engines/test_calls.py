from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from strop.contract.pytree import Record
from strop.contract.signature import infer_signature
from strop.engines import get
from strop.engines.calls import AnswerWriter, CallReader, installed, read_settings, require, tensors_of, write_settings
from strop.errors import ArtefactError, MissingExtraError, WorkloadError

EXAMPLES = [{"a": np.zeros((n, 3), np.float32), "b": np.zeros(n, np.int64)} for n in (1, 2)]
SIGNATURE = infer_signature(EXAMPLES, [np.zeros((1, 2), np.float32)] * 2)


def test_keywords_are_read_in_any_order() -> None:
    a, b = np.ones((4, 3), np.float32), np.ones(4, np.int64)
    leaves, as_torch = CallReader(SIGNATURE).arrays((), {"b": b, "a": a})
    assert leaves[0] is a and leaves[1] is b and not as_torch


def test_torch_tensors_are_seen_and_share_their_memory() -> None:
    a = torch.ones(4, 3)
    leaves, as_torch = CallReader(SIGNATURE).arrays((), {"a": a, "b": torch.ones(4, dtype=torch.long)})
    assert as_torch and np.shares_memory(leaves[0], a.numpy())


@pytest.mark.parametrize(
    "call",
    [
        {"a": np.ones((4, 3), np.float32)},
        {"a": np.ones((4, 3), np.float32), "b": np.ones(4, np.int64), "c": np.ones(1)},
        {"a": np.ones((4, 3), np.float32), "b": "text"},
        {"a": np.ones((4, 3), np.float64), "b": np.ones(4, np.int64)},
        {"a": np.ones((4, 2), np.float32), "b": np.ones(4, np.int64)},
        {"a": np.ones((4, 3), np.float32), "b": np.ones((4, 1), np.int64)},
        {"a": torch.ones(4, 3, dtype=torch.int64), "b": np.ones(4, np.int64)},
    ],
)
def test_what_does_not_fit_is_refused(call: dict[str, object]) -> None:
    with pytest.raises(WorkloadError):
        CallReader(SIGNATURE).arrays((), call)


def test_constants_take_the_general_path_and_must_be_the_same() -> None:
    signature = infer_signature([{"x": np.zeros((2, 1), np.float32), "flag": True}], [np.zeros(1, np.float32)])
    reader = CallReader(signature)
    assert len(reader.arrays((), {"x": np.zeros((2, 1), np.float32), "flag": True})[0]) == 1
    with pytest.raises(WorkloadError):
        reader.arrays((), {"x": np.zeros((2, 1), np.float32), "flag": False})


def test_answers_get_their_structure_kind_and_dtype_back() -> None:
    class Output(dict[str, object]):
        pass

    answer = Output(logits=np.zeros((1, 2), np.float32), count=np.zeros(1, np.int64))
    writer = AnswerWriter(infer_signature([np.zeros(1)], [answer]))
    got = writer.from_arrays([np.ones((1, 2), np.float64), np.ones(1, np.int32)], as_torch=True)
    assert isinstance(got, Record) and got.logits.dtype == torch.float32 and got.count.dtype == torch.int64
    low = writer.from_tensors([torch.ones(1, 2, dtype=torch.bfloat16), torch.ones(1, dtype=torch.long)], as_torch=True)
    assert low.logits.dtype == torch.float32
    assert isinstance(writer.from_tensors([torch.ones(1, 2), torch.ones(1)], as_torch=False).logits, np.ndarray)


def test_read_only_arrays_become_tensors_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    array = np.ones(3)
    array.flags.writeable = False
    tensors, as_torch = tensors_of([array])
    assert not as_torch and tensors[0].sum() == 3 and not recwarn.list


def test_settings_come_back_and_damage_is_named(tmp_path: Path) -> None:
    write_settings(tmp_path, {"precision": "bf16"})
    assert read_settings(tmp_path) == {"precision": "bf16"}
    for text in ("{", "[1]"):
        (tmp_path / "engine.json").write_text(text)
        with pytest.raises(ArtefactError, match=r"engine\.json"):
            read_settings(tmp_path)
    (tmp_path / "engine.json").unlink()
    with pytest.raises(ArtefactError, match=r"engine\.json is missing"):
        read_settings(tmp_path)


def test_a_missing_package_comes_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("numpy") and not installed("numpy", "no_such_package")
    monkeypatch.setattr("strop.engines.openvino.installed", lambda *_: False)
    with pytest.raises(MissingExtraError, match=r"engine openvino needs .* pip install 'strop\[openvino\]'"):
        require(get("openvino"))
