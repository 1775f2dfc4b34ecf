"""LitServe with one of the known models: ``litserve_server.py --port 8000 --model sleep [--batch 16 --wait 10]``."""

from __future__ import annotations

from typing import Any

import litserve
from models import MODELS, asked

ASKED = asked()


class Model(litserve.LitAPI):  # type: ignore[misc]
    """Answers whole batches, or single requests where batches are of one."""

    def setup(self, device: str) -> None:
        """Choose the model."""
        self.model = MODELS[ASKED.model]

    def predict(self, x: Any) -> Any:
        """Run the model."""
        return self.model([x])[0] if ASKED.batch == 1 else self.model(x)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Keep a batch as it is."""
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Likewise."""
        return output


if __name__ == "__main__":
    api = Model(max_batch_size=ASKED.batch, batch_timeout=ASKED.wait / 1000)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=ASKED.port, log_level="error", generate_client_file=False)
