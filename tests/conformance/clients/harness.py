"""What the clients share: the models under test, values whose answers are known, and how a check is run and reported.

Only the standard library, because every client runs in an environment of its own:

    python plain.py '{"url": "http://127.0.0.1:8080", "grpc": "127.0.0.1:9000", "models": ["identity"]}'

prints one JSON object per check: ``check``, ``says`` (the sentence of the specification), and ``problem``: ``null``, or what
went wrong; ``offered`` is false where the server, by its own metadata, does not have what the check needs.

Every model under test is an identity: output i equals input i, in the order of its metadata.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import traceback
import urllib.request

SIZES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FP16": 2,
    "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""Fixed-size datatypes of the protocol and their bytes; BF16 is in Triton's table, not in the specification's."""

FORMATS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


class NotOffered(Exception):
    """The server does not have what a check needs, and says so itself."""


def cases(*names):
    """Run a check once for each name."""

    def mark(check):
        check.cases = names
        return check

    return mark


class Model:
    """An identity model under test.

    Attributes:
        name: its name.
        inputs: name, datatype and shape of each input, from the metadata.
        outputs: likewise.
    """

    def __init__(self, metadata):
        self.name = metadata["name"]
        self.inputs = [(row["name"], row["datatype"], row["shape"]) for row in metadata["inputs"]]
        self.outputs = [row["name"] for row in metadata["outputs"]]

    def tensors(self, batch=1):
        """Return name, datatype, shape and flat values of every input."""
        found = []
        for name, datatype, declared in self.inputs:
            shape = [(batch if place == 0 else 2) if size < 0 else size for place, size in enumerate(declared)]
            if shape and shape[0] != batch:
                raise NotOffered(f"{self.name} has a fixed batch of {shape[0]}")
            found.append((name, datatype, shape, values(datatype, math.prod(shape))))
        return found

    def request(self, batch=1, **more):
        """Return an inference request as the specification's JSON object."""
        rows = [
            {"name": name, "datatype": datatype, "shape": shape, "data": flat}
            for name, datatype, shape, flat in self.tensors(batch)
        ]
        return {"inputs": rows, **more}


class Target:
    """The server under test.

    Attributes:
        url: of its HTTP port.
        grpc: ``host:port`` of its gRPC port, or empty.
        models: identity models.
    """

    def __init__(self, url, models, grpc=""):
        self.url, self.grpc = url.rstrip("/"), grpc
        self.models = [Model(_fetch(f"{self.url}/v2/models/{name}")) for name in models]

    @property
    def model(self):
        """The first model."""
        return self.models[0]

    def with_datatype(self, datatype):
        """Return a model with an input of this datatype."""
        for model in self.models:
            if datatype in [d for _, d, _ in model.inputs]:
                return model
        raise NotOffered(f"no model under test has an input of datatype {datatype}")

    def with_many(self):
        """Return a model with more than one output."""
        for model in self.models:
            if len(model.outputs) > 1:
                return model
        raise NotOffered("no model under test has more than one output")

    def extensions(self):
        """Return what the server metadata lists."""
        return _fetch(f"{self.url}/v2").get("extensions", [])


def values(datatype, count):
    """Return values that every step must carry exactly: extremes of integers, halves of floats, text beyond ASCII."""
    if datatype == "BYTES":
        cycle = ["strop", "", "é 模型", "a\nb"]
    elif datatype == "BOOL":
        cycle = [True, False, False]
    elif datatype.startswith("UINT"):
        cycle = [0, 1, 2 ** (8 * SIZES[datatype]) - 1]
    elif datatype.startswith("INT"):
        cycle = [-1, 2 ** (8 * SIZES[datatype] - 1) - 1, -(2 ** (8 * SIZES[datatype] - 1))]
    else:
        cycle = [0.5, -2.0, 96.0]
    return [cycle[place % len(cycle)] for place in range(count)]


def pack(datatype, flat):
    """Return values as raw bytes: little-endian, row-major, no padding."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in flat)
    if datatype == "BF16":
        return b"".join(struct.pack("<f", v)[2:] for v in flat)
    return struct.pack(f"<{len(flat)}{FORMATS[datatype]}", *flat)


def same(answer, model, batch=1):
    """Check an inference response (JSON object) of an identity model, tensor for tensor."""
    assert isinstance(answer, dict), f"the response is {answer!r}"
    assert answer.get("model_name") == model.name, f"model_name is {answer.get('model_name')!r}, not {model.name!r}"
    rows = {row["name"]: row for row in answer["outputs"]}
    assert sorted(rows) == sorted(model.outputs), f"outputs are {sorted(rows)}, not {sorted(model.outputs)}"
    for (_, datatype, shape, flat), name in zip(model.tensors(batch), model.outputs, strict=True):
        row = rows[name]
        assert row["datatype"] == datatype, f"{name} has datatype {row['datatype']}, not {datatype}"
        assert row["shape"] == shape, f"{name} has shape {row['shape']}, not {shape}"
        assert flatten(row["data"]) == flat, f"{name} is {flatten(row['data'])[:6]}, not {flat[:6]}"


def flatten(data):
    """Return nested lists as one flat list."""
    return (
        [leaf for part in data for leaf in flatten(part)]
        if isinstance(data, list) and data and isinstance(data[0], list)
        else data
    )


def main(module):
    """Run every check of a client's module and print what came of it."""
    facts = json.loads(sys.argv[1])
    target = Target(facts["url"], facts["models"], facts.get("grpc", ""))
    for name, check in list(vars(module).items()):
        if not name.startswith("check_"):
            continue
        for case in getattr(check, "cases", (None,)):
            problem, offered = None, True
            try:
                check(target) if case is None else check(target, case)
            except NotOffered as reason:
                problem, offered = str(reason), False
            except AssertionError as error:
                problem = str(error) or traceback.format_exc(limit=-1)
            except Exception as error:  # a client's own error is what the server made of it
                problem = f"{type(error).__name__}: {error}"[:500]
            label = name if case is None else f"{name}[{case}]"
            print(json.dumps({"check": label, "says": check.__doc__, "problem": problem, "offered": offered}), flush=True)


def _fetch(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())
