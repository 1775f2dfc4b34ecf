"""Start MLServer with identity models, for running the suite against a server that is not ours.

    python -m venv ENV && ENV/bin/pip install mlserver==1.7.1
    ENV/bin/python tests/conformance/servers/mlserver.py --http 8090 --grpc 8091
    pytest tests/conformance --url http://127.0.0.1:8090 --grpc 127.0.0.1:8091 --models identity,many

``identity`` takes FP32 and INT64, ``many`` every datatype its codecs know. Runs until it is ended.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES")
MODELS = {"identity": ("FP32", "INT64"), "many": DATATYPES}

RUNTIME = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse


class Identity(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        given = {tensor.name: tensor for tensor in payload.inputs}
        outputs = []
        for declared, answer in zip(self.inputs, self.outputs):
            if declared.name not in given:
                raise InferenceError("input " + declared.name + " is missing")
            codec = StringCodec if declared.datatype == "BYTES" else NumpyCodec
            value = self.decode(given[declared.name], default_codec=codec)
            output = codec.encode_output(answer.name, value)
            output.shape = given[declared.name].shape
            outputs.append(output)
        wanted = [output.name for output in payload.outputs or []]
        outputs = [output for output in outputs if not wanted or output.name in wanted]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
"""
"""What a careful author of a runtime does by hand: inputs by name, decoded and encoded by MLServer's own codecs."""


def tensor(letter: str, datatype: str) -> dict[str, object]:
    """Describe one input or output."""
    return {"name": f"{letter}_{datatype.lower()}", "datatype": datatype, "shape": [-1, -1]}


def main() -> None:
    """Write the models and become the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", type=int, default=8090)
    parser.add_argument("--grpc", type=int, default=8091)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    settings = {
        "host": "127.0.0.1", "http_port": asked.http, "grpc_port": asked.grpc, "metrics_port": asked.grpc + 1, "debug": False,
        "parallel_workers": 0,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    for name, datatypes in MODELS.items():
        place = folder / name
        place.mkdir()
        (place / "identity.py").write_text(RUNTIME)
        described = {
            "name": name, "implementation": "identity.Identity", "platform": "custom",
            "inputs": [tensor("x", datatype) for datatype in datatypes],
            "outputs": [tensor("y", datatype) for datatype in datatypes],
        }  # fmt: skip
        (place / "model-settings.json").write_text(json.dumps(described))
    command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
