"""Ray Serve with one of the known models: ``ray_server.py --port 8000 --model sleep [--batch 16 --wait 10]``."""

from __future__ import annotations

import signal
from typing import Any

import ray
from models import MODELS, asked
from ray import serve
from starlette.requests import Request

ASKED = asked()


@serve.deployment
class Single:
    """Answers request by request; every setting is Ray's own."""

    async def __call__(self, request: Request) -> Any:
        """Run the model."""
        return MODELS[ASKED.model]([await request.json()])[0]


@serve.deployment(max_ongoing_requests=4 * ASKED.batch)  # its 5 by default would never fill a batch
class Batched:
    """Answers whole batches."""

    @serve.batch(max_batch_size=ASKED.batch, batch_wait_timeout_s=ASKED.wait / 1000)  # type: ignore[untyped-decorator]
    async def answer(self, rows: list[Any]) -> list[Any]:
        """Run the model."""
        return MODELS[ASKED.model](rows)

    async def __call__(self, request: Request) -> Any:
        """Join a batch."""
        return await self.answer(await request.json())


if __name__ == "__main__":
    # Logical processors are only counted by Ray, never pinned: the core it runs on was given to this process.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 1024**2)
    serve.start(http_options={"host": "127.0.0.1", "port": ASKED.port})
    serve.run((Single if ASKED.batch == 1 else Batched).bind(), route_prefix="/predict")
    signal.pause()
