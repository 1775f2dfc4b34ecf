"""MLServer with the sleep or identity model: ``mlserver_server.py --port 8000 --model sleep [--batch 16 --wait 10]``.

Not with a bundle: its batches join tensors of one shape, so that sentences of different lengths would never share one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from models import MODELS, asked

HERE = Path(__file__).resolve()


class Model(MLModel):  # type: ignore[misc, unused-ignore]
    """Answers the rows of a request, which are those of several where MLServer batches."""

    async def load(self) -> bool:
        """Choose the model."""
        self._model = MODELS[self.settings.parameters.extra["model"]]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the model."""
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = NumpyCodec.encode_output("y", np.asarray(self._model(rows)))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])


def main() -> None:
    """Write the settings and become the server."""
    told = asked(("sleep", "identity"))
    folder = Path(tempfile.mkdtemp())
    ports = {"http_port": told.port, "grpc_port": 0, "metrics_port": 0}
    # The model runs in the server itself: 1.7.1 cannot start a worker with uvloop 0.22, which it installs.
    settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}
    tensors = {part: [{"name": name, "datatype": "FP32", "shape": [-1, 4]}] for part, name in (("inputs", "x"), ("outputs", "y"))}
    described = {
        "name": told.model, "implementation": f"{HERE.stem}.Model", "max_batch_size": told.batch,
        "max_batch_time": told.wait / 1000, "parameters": {"extra": {"model": told.model}},
        **tensors,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(described))
    os.environ["PYTHONPATH"] = str(HERE.parent)
    os.execv(sys.executable, [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)])  # noqa: S606


if __name__ == "__main__":
    main()
