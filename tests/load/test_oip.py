from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from strop.errors import StropError, UsageError
from strop.load.oip import DATATYPES, Tensor, encode, random_requests, raw_bytes, read_requests, read_tensors

X, IDS = Tensor("x", "FP32", (-1, 3)), Tensor("ids", "INT64", (-1, -1))


def test_inputs_are_read_from_metadata() -> None:
    rows = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}, {"name": "ids", "datatype": "INT64", "shape": [-1, -1]}]
    assert read_tensors({"inputs": rows}) == (X, IDS)


@pytest.mark.parametrize(
    "metadata",
    [{}, [], None, {"inputs": 3}, {"inputs": [{"name": "x"}]}, {"inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]}],
)
def test_metadata_of_another_form_is_refused(metadata: object) -> None:
    with pytest.raises(StropError, match="does not follow the Open Inference Protocol"):
        read_tensors(metadata)


def test_an_unknown_datatype_is_named() -> None:
    with pytest.raises(StropError, match=r"'FP31'\. Did you mean 'FP3"):
        read_tensors({"inputs": [{"name": "x", "datatype": "FP31", "shape": [1]}]})


def test_random_requests_keep_to_the_declared_shapes() -> None:
    requests = random_requests([X, IDS], 20, batch=2, lengths=(3, 9))
    shapes = []
    for request in requests:
        rows = {row["name"]: row for row in json.loads(request.body)["inputs"]}
        assert rows["x"]["shape"] == [2, 3]
        assert len(rows["ids"]["data"]) == np.prod(rows["ids"]["shape"])
        assert set(rows["ids"]["data"]) <= {0, 1}
        shapes.append(rows["ids"]["shape"][1])
    assert min(shapes) >= 3 and max(shapes) <= 9 and len(set(shapes)) > 2


def test_dimensions_that_vary_share_a_length_within_a_request() -> None:
    for request in random_requests([IDS, Tensor("mask", "INT64", (-1, -1))], 10, lengths=(1, 50)):
        rows = json.loads(request.body)["inputs"]
        assert rows[0]["shape"] == rows[1]["shape"]


def test_the_seed_alone_decides() -> None:
    assert random_requests([X], 3, seed=1) == random_requests([X], 3, seed=1)
    assert random_requests([X], 3, seed=1) != random_requests([X], 3, seed=2)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_can_be_sent_as_json_and_as_bytes(datatype: str) -> None:
    tensor = Tensor("x", datatype, (-1, 2))
    plain, raw = (random_requests([tensor], 1, batch=3, binary=binary)[0] for binary in (False, True))
    assert len(json.loads(plain.body)["inputs"][0]["data"]) == 6
    head = int(raw.headers["Inference-Header-Content-Length"])
    row = json.loads(raw.body[:head])["inputs"][0]
    assert "data" not in row
    assert row["parameters"]["binary_data_size"] == len(raw.body) - head
    assert json.loads(raw.body[:head])["parameters"] == {"binary_data_output": True}


@pytest.mark.parametrize(
    ("datatype", "values", "raw"),
    [
        ("FP32", [1.5, -2.0], struct.pack("<2f", 1.5, -2.0)),
        ("FP64", [1.5], struct.pack("<d", 1.5)),
        ("FP16", [1.5], struct.pack("<e", 1.5)),
        ("BF16", [1.0, -2.0], bytes.fromhex("803f00c0")),
        ("BOOL", [True, False], b"\x01\x00"),
        ("UINT16", [258], b"\x02\x01"),
        ("INT64", [-1], b"\xff" * 8),
        ("BYTES", ["ab", "é"], b"\x02\x00\x00\x00ab\x02\x00\x00\x00\xc3\xa9"),
    ],
)
def test_bytes_are_little_endian_without_padding(datatype: str, values: list[object], raw: bytes) -> None:
    assert raw_bytes(datatype, np.array(values, dtype=DATATYPES[datatype])) == raw


def test_several_tensors_follow_each_other_in_order() -> None:
    request = encode([(X, np.ones((1, 3), "float32")), (IDS, np.array([[7]]))], binary=True)
    head = int(request.headers["Inference-Header-Content-Length"])
    assert request.body[head:] == struct.pack("<3fq", 1, 1, 1, 7)


def test_requests_are_read_one_per_line_as_they_are(tmp_path: Path) -> None:
    lines = [json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [n]}]}) for n in range(3)]
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join(lines) + "\n\n")
    assert [request.body.decode() for request in read_requests(file, [X])] == lines
    single = tmp_path / "call.json"
    single.write_text(lines[0])
    assert len(read_requests(single, [X])) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"inputs": [{"name": "x"}]}\n{oops', "line 2 is not JSON"),
        ("[1]", "line 1: an inference request"),
        ('{"inputs": [{}]}', "line 1: an inference request"),
        ('{"inputs": [{"name": "idz"}]}', "has no input 'idz'. Did you mean 'ids'"),
        ("", "holds no request"),
    ],
)
def test_a_file_with_something_else_is_refused_by_line(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_requests(file, [X, IDS])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read from .*calls\.json"):
        read_requests(tmp_path / "calls.json", [X])
