"""What the server itself costs: an identity model behind everything strop does, against a bare granian that echoes.

    python benchmarks/serving/identity.py [--rounds 60] [--seconds 0.4] [--anywhere]

Both servers share one core, the clients have the other, or with ``--anywhere`` all of them run where the system puts them;
the two are measured in turn, in a drawn order, and compared round by round: the median quotient and its 95 % interval.
A request is a JSON tensor of 1 × 4; one connection gives the idle median, 32 give the throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from strop.contract.engine import Program
from strop.contract.signature import Signature, TensorSpec
from strop.measure.latency import median_interval
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel, Seed
from strop.serve.limits import Limits
from strop.serve.policy import Policy
from strop.serve.request import Outcome
from strop.serve.scheduler import Scheduler
from strop.serve.server import Address, new_loop, serve
from strop.serve.stack import Stacker

BODY = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1.5,2.5,3.5,4.5]}]}'
PORTS = {"bare": 18091, "strop": 18092}
PATHS = {"bare": "/", "strop": "/v2/models/identity/infer"}


class Identity(Program):
    """Answers with what it was asked."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the input."""
        return args[0]


async def strop_server() -> None:
    """Serve the identity with every limit, count and rule on."""
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 4))
    leaf = {"kind": "leaf", "index": 0}
    tree = {"kind": "list", "children": [{"kind": "list", "children": [leaf]}, {"kind": "dict", "keys": [], "children": []}]}
    signature = Signature(inputs=(spec,), input_tree=tree, outputs=(spec,), output_tree=leaf)
    latency = LatencyModel([Seed(width=4, rows=rows, seconds=5e-6) for rows in (1, 64)], 64)
    desk = Desk(Identity(), Stacker(signature), Scheduler(Policy(objective=0.05), latency))
    app = App(desk, signature, name="identity", platform="identity", limits=Limits())
    await serve(app, Address(port=PORTS["strop"], admin_port=0), {})
    accounts, batches = desk.scheduler.accounts, desk.counts.batch_rows
    done = f"{accounts.ended[Outcome.OK]} ok, rows of batches {batches.total:.0f}, open {accounts.open}"
    print(f"strop: {accounts.sent} sent, {done}")


async def bare_server() -> None:
    """Echo."""
    from granian.constants import HTTPModes
    from granian.server.embed import Server

    async def handle(scope: Any, proto: Any) -> None:
        proto.response_bytes(200, [("content-type", "application/json")], await proto())

    server = Server(handle, port=PORTS["bare"], http=HTTPModes.http1, websockets=False, log_enabled=False, backpressure=4096)
    await server.serve()


class Client(asyncio.Protocol):
    """Sends a request as soon as the last one is answered."""

    def __init__(self, message: bytes, times: list[float]) -> None:
        self._message, self._times, self._got = message, times, b""

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self._start = time.perf_counter()
        self.transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        """Take the answer, and send the next request when it is whole."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        if b" 200 " not in head[:16]:
            raise SystemExit(self._got.decode())
        self._got = b""
        self._times.append(time.perf_counter() - self._start)
        self._send()


async def load(server: str, connections: int, seconds: float) -> tuple[float, float]:
    """Return requests per second and median seconds."""
    head = f"POST {PATHS[server]} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    times: list[float] = []
    loop, clients = asyncio.get_running_loop(), []
    for _ in range(connections):
        transport, _ = await loop.create_connection(lambda: Client(head.encode() + BODY, times), "127.0.0.1", PORTS[server])
        clients.append(transport)
    await asyncio.sleep(0.3)
    times.clear()
    await asyncio.sleep(seconds)
    count, median = len(times), statistics.median(times)
    for transport in clients:
        transport.close()
    await asyncio.sleep(0.1)
    return count / seconds, median


async def compare(rounds: int, seconds: float) -> None:
    """Measure both in turn and print the ratios."""
    rates: dict[str, list[float]] = {"bare": [], "strop": []}
    idles: dict[str, list[float]] = {"bare": [], "strop": []}
    for _ in range(rounds):
        for server in random.sample(("bare", "strop"), 2):
            idles[server].append((await load(server, 1, seconds))[1])
            rates[server].append((await load(server, 32, seconds))[0])
    for server in rates:
        rate, idle = statistics.median(rates[server]), statistics.median(idles[server])
        print(f"{server}: 32 connections {rate:.0f}/s, idle median {1e6 * idle:.0f} µs")
    for name, figures in (("throughput", rates), ("idle median", idles)):
        shown = median_interval([a / b for a, b in zip(figures["strop"], figures["bare"], strict=True)])
        print(f"strop / bare, {name}: {shown.estimate:.3f} [{shown.low:.3f}, {shown.high:.3f}]")


def main() -> None:
    """Start both servers and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--anywhere", action="store_true", help="bind nobody to a core")
    parser.add_argument("--serve", choices=("bare", "strop"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if not options.anywhere:
        os.sched_setaffinity(0, {cores[-1] if options.serve else cores[0]})
    with asyncio.Runner(loop_factory=new_loop) as runner:
        if options.serve:
            runner.run(strop_server() if options.serve == "strop" else bare_server())
            return
        command = [sys.executable, str(Path(__file__)), *(["--anywhere"] if options.anywhere else []), "--serve"]
        clients = os.sched_getaffinity(0)
        os.sched_setaffinity(0, set(cores))
        servers = [subprocess.Popen([*command, name]) for name in PORTS]
        os.sched_setaffinity(0, clients)
        time.sleep(3.0)
        try:
            runner.run(compare(options.rounds, options.seconds))
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait()


if __name__ == "__main__":
    main()
