"""strop with one of the models: ``strop_server.py --port 8000 --model sleep``; a bundle as ``strop serve`` serves it."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

import numpy as np
from models import BUNDLE, MODELS

from strop.api.serve import serve as serve_bundle
from strop.contract.engine import Program
from strop.contract.signature import Signature, TensorSpec
from strop.serve import stack
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel
from strop.serve.limits import Limits
from strop.serve.policy import Policy
from strop.serve.scheduler import Scheduler
from strop.serve.server import Address, new_loop, serve
from strop.serve.stack import Stacker
from strop.serve.warm import measured_seeds


class Known(Program):
    """One of the models that the rivals serve too, behind strop's own front."""

    def __init__(self, name: str) -> None:
        self._model = MODELS[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the rows of the input."""
        return np.asarray(self._model(args[0]))


async def serve_known(name: str, objective: float, port: int) -> None:
    """Serve a known model with every limit, count and rule on, its latencies measured at the start."""
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 4))
    leaf = {"kind": "leaf", "index": 0}
    tree = {"kind": "list", "children": [{"kind": "list", "children": [leaf]}, {"kind": "dict", "keys": [], "children": []}]}
    signature = Signature(inputs=(spec,), input_tree=tree, outputs=(spec,), output_tree=leaf)
    program, stacker, policy = Known(name), Stacker(signature), Policy(objective=objective)
    latency = LatencyModel(measured_seeds(program, signature, stacker, policy.max_rows), policy.max_rows)
    desk = Desk(program, stacker, Scheduler(policy, latency))
    app = App(desk, signature, name=name, platform="known", limits=Limits())
    await serve(app, Address(port=port, admin_port=0), {})


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--objective", type=float, required=True, help="seconds")
    parser.add_argument("--length", type=int, default=0, help="pad every row of a bundle to it; 0: to the nearest of several")
    asked = parser.parse_args()
    if asked.model not in MODELS:
        parser.error(f"there is no model {asked.model!r}; choose one of {', '.join(MODELS)}")
    if asked.length:
        stack.EDGES = (asked.length,)
    if asked.model == "bundle":
        serve_bundle(os.environ[BUNDLE], objective=asked.objective, port=asked.port, admin_port=0, name="bundle")
        return
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve_known(asked.model, asked.objective, asked.port))


if __name__ == "__main__":
    main()
