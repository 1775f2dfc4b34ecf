"""How soon a server is ready, and how long its first answer takes beside later ones.

    python benchmarks/serving/first_answer.py runs/minilm-serving-bundle [--starts 6] [--pause 5]

``strop serve`` is started afresh for every line, files in memory. One client sends sentences of their natural lengths over one
connection, each so long after the answer before: without a pause later answers find everything in the processor's caches.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import oip, sentences  # type: ignore[import-not-found]  # beside this file

from strop.serve.server import free_port

LATER = slice(10, None)
PATIENCE = 60.0


def main() -> None:
    """Start, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--pause", type=float, default=5.0, help="milliseconds  [default: 5]")
    asked = parser.parse_args()
    bodies = [json.dumps(oip(row)).encode() for row in sentences()[: asked.requests]]
    for _ in range(asked.starts):
        ready, times = measure(asked.bundle, bodies, asked.pause / 1e3)
        later = statistics.median(times[LATER])
        print(f"ready {ready:.2f} s, first {times[0]:.2f} ms, later {later:.2f} ms, {times[0] / later:.2f} times", flush=True)


def measure(bundle: Path, bodies: list[bytes], pause: float) -> tuple[float, list[float]]:
    """Return the seconds until the server was ready, and the milliseconds that each answer took."""
    port, begun = free_port("127.0.0.1", 0), time.perf_counter()
    command = [sys.executable, "-m", "strop", "serve", str(bundle), "--port", str(port), "--grpc-port", "0", "--admin-port", "0"]
    command += ["--name", "model", "--objective", "1s"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connection = _ready(port, server)
        ready, times = time.perf_counter() - begun, []
        for body in bodies:
            time.sleep(pause)
            sent = time.perf_counter()
            connection.request("POST", "/v2/models/model/infer", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            times.append(1e3 * (time.perf_counter() - sent))
            if answer.status != 200:
                raise SystemExit(f"the server answered {answer.status}")
        return ready, times
    finally:
        server.terminate()
        server.wait()


def _ready(port: int, server: subprocess.Popen[bytes]) -> http.client.HTTPConnection:
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return connection
        except OSError:
            time.sleep(0.005)
    raise SystemExit("the server did not become ready")


if __name__ == "__main__":
    main()
