"""mosec with one of the known models: ``mosec_server.py --port 8000 --model sleep [--batch 16 --wait 10]``."""

from __future__ import annotations

import sys
from typing import Any

from models import MODELS, asked
from mosec import Server, Worker

ASKED = asked()
sys.argv[1:] = ["--port", str(ASKED.port), "--address", "127.0.0.1", "--log-level", "error"]  # mosec reads the line as well


class Model(Worker):
    """Answers whole batches, or single requests where batches are of one."""

    def forward(self, data: Any) -> Any:
        """Run the model."""
        model = MODELS[ASKED.model]
        return model([data])[0] if ASKED.batch == 1 else model(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, max_batch_size=ASKED.batch, max_wait_time=ASKED.wait, start_method="fork")
    server.run()
