"""MLServer with the sleep or identity model: ``mlserver_server.py --port 8000 --model sleep [--batch 16 --wait 10]``.

Not with a bundle: its batches join tensors of one shape, so that sentences of different lengths would never share one.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from models import MODELS

HERE = Path(__file__).resolve()


class Model(MLModel):  # type: ignore[misc, unused-ignore]
    """Answers the rows of a request, which are those of several where MLServer batches."""

    async def load(self) -> bool:
        """Choose the model."""
        self._model = MODELS[self.settings.parameters.extra["model"]]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the model."""
        import numpy as np

        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = NumpyCodec.encode_output("y", np.asarray(self._model(rows)))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Write the settings and become the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", choices=("sleep", "identity"), required=True)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--wait", type=int, default=0, help="milliseconds")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    ports = {"http_port": asked.port, "grpc_port": free_port(), "metrics_port": free_port()}
    # The model runs in the server itself: 1.7.1 cannot start a worker with uvloop 0.22, which it installs.
    settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}
    tensors = {part: [{"name": name, "datatype": "FP32", "shape": [-1, 4]}] for part, name in (("inputs", "x"), ("outputs", "y"))}
    described = {
        "name": asked.model, "implementation": f"{HERE.stem}.Model", "max_batch_size": asked.batch,
        "max_batch_time": asked.wait / 1000, "parameters": {"extra": {"model": asked.model}},
        **tensors,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(described))
    os.environ["PYTHONPATH"] = str(HERE.parent)
    os.execv(sys.executable, [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)])  # noqa: S606


if __name__ == "__main__":
    main()
