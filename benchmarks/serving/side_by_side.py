"""Servers side by side: the same model behind each, the same schedule of requests in front.

    pip install mosec==0.9.8 litserve==0.2.19 'ray[serve]'
    python benchmarks/serving/side_by_side.py --out runs/side-by-side [--model sleep] [--rounds 3]
    python benchmarks/serving/side_by_side.py --out runs/side-by-side-minilm --bundle runs/minilm/bundle --loads 0.5,0.8,1.3,2

With a bundle the requests are sentences of the sentiment data in their natural lengths, one each; all servers open the same
artefact.
A cell is one server, one load, one round: the server is started afresh on the first core, ``strop load`` runs on the last,
open loop with latency from the scheduled time. Within a round and load the servers take turns in a drawn order. Every rival
runs as it comes and tuned: the best of at most 12 settings by goodput at load 0.8. Cells are folders; what is there already is
kept, so an interrupted run goes on with the same command. A cell that gave nothing is lost, is tried again next time, and is
shown. Load 1 is what the model can do in batches that take half the objective; for a bundle that is measured first. strop has
one setting, the objective, and every server is told or asked the same one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strop.errors import StropError
from strop.serve.server import free_port

HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"

ALPHA, BETA, OBJECTIVE = 0.020, 0.002, 0.1
"""Of the sleep model (``servers/models.py``), seconds; and the latency to be kept."""
CAPACITY = {"sleep": (OBJECTIVE / 2 - ALPHA) / BETA / (OBJECTIVE / 2), "identity": 1000.0}
"""Requests per second at load 1: the sleep model's best within half the objective; for the identity a round number."""
BUNDLE = "STROP_BENCHMARK_BUNDLE"
"""Environment variable that tells the servers which bundle to open (``servers/models.py``)."""
SENTENCES = 512
"""Requests of a bundle's load, taken round and round."""
LOADS = (0.1, 0.5, 0.8, 0.95, 1.3, 2.0)
TUNED_AT = 0.8
GRID = tuple({"batch": batch, "wait": wait} for batch in (4, 8, 16, 32) for wait in (1, 10, 20))
"""Settings tried for every rival: 12."""
PATIENCE = 30.0


@dataclass(frozen=True)
class Server:
    """A server of the comparison.

    Attributes:
        name: shown in tables.
        script: file in ``servers``.
        path: where it takes requests; ``MODEL`` in it stands for the model's name.
        settings: options of the script; none: as it comes.
        protocol: it speaks the Open Inference Protocol; the others take plain JSON.
        home: the environment it runs in: ``here``, ``rivals``, or ``mlserver``, which needs its own.
    """

    name: str
    script: str
    path: str
    settings: Mapping[str, int] = field(default_factory=dict)
    protocol: bool = False
    home: str = "rivals"

    @property
    def key(self) -> str:
        """Name of its cells' folders."""
        return "-".join([self.name.replace(" ", "-"), *(f"{name}{value}" for name, value in self.settings.items())])


RIVALS = {
    "mosec": Server("mosec", "mosec_server.py", "/inference"),
    "litserve": Server("litserve", "litserve_server.py", "/predict"),
    "ray": Server("ray", "ray_server.py", "/predict"),
    "mlserver": Server("mlserver", "mlserver_server.py", "/v2/models/MODEL/infer", protocol=True, home="mlserver"),
}
STROP = Server("strop", "strop_server.py", "/v2/models/MODEL/infer", protocol=True, home="here")
ONE_LENGTH = Server("strop one length", STROP.script, STROP.path, {"length": 96}, protocol=True, home="here")
"""With a bundle: every sentence padded to one length that holds them all, to see what buckets add."""


@dataclass(frozen=True)
class Cell:
    """One measurement: a server under a load, in a round."""

    server: Server
    load: float
    round: int

    @property
    def folder(self) -> str:
        """Where it is kept."""
        return f"{self.server.key}_load{self.load:g}_round{self.round}"


def tuning_cells(rivals: Sequence[Server]) -> list[Cell]:
    """Return one cell per rival and setting, at the load it is tuned for; round -1 says that they are no results."""
    return [Cell(replace(rival, settings=settings), TUNED_AT, -1) for settings in GRID for rival in rivals]


def main_cells(servers: Sequence[Server], loads: Sequence[float], rounds: int, seed: int) -> list[Cell]:
    """Return all cells in the order they run: round by round, load by load, servers in a drawn order."""
    cells = []
    for number in range(rounds):
        for load in loads:
            order = list(servers)
            random.Random(f"{seed} {number} {load}").shuffle(order)
            cells += [Cell(server, load, number) for server in order]
    return cells


def best(rival: Server, results: Mapping[str, Mapping[str, Any]]) -> Server:
    """Return the rival with the setting that had the best goodput when it was tuned.

    Raises:
        StropError: every cell of its tuning was lost.
    """
    tried = [cell for cell in tuning_cells([rival]) if "goodput" in results.get(cell.folder, {})]
    if not tried:
        raise StropError(f"no setting of {rival.name} gave a result, so it cannot be tuned; see the lost cells")
    winner = max(tried, key=lambda cell: results[cell.folder]["goodput"])
    return replace(winner.server, name=f"{rival.name} tuned")


def read_cell(folder: Path) -> dict[str, Any]:
    """Return the figures of a cell; ``lost``: why there are none."""
    if not (folder / "load.json").exists():
        lost = folder / "lost.txt"
        return {"lost": lost.read_text(encoding="utf-8") if lost.exists() else "not run"}
    row = json.loads((folder / "load.json").read_text(encoding="utf-8"))["rates"][0]
    latency = {p["share"]: p["estimate"] for p in row["latency"]}
    ended = sum(row["account"][name] for name in ("ok", "refused", "expired", "failed", "cancelled", "timeout"))
    return {
        "goodput": row["goodput"]["estimate"],
        "p50": latency.get(0.5),
        "p99": latency.get(0.99),
        "account": row["account"],
        "unaccounted": row["account"]["sent"] - ended,
        "findings": [finding["code"] for finding in row["findings"]],
    }


def table(cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line per load and server: goodput (median and range over rounds), latencies, and what was lost."""
    lines = [f"{'load':>5}  {'server':<18} {'goodput':>9} {'range':>15} {'p50 ms':>8} {'p99 ms':>8}  lost cells, doubts"]
    for load, server in sorted({(cell.load, cell.server.name) for cell in cells}):
        rows = [results.get(c.folder, {"lost": "not run"}) for c in cells if (c.load, c.server.name) == (load, server)]
        kept = [row for row in rows if "lost" not in row]
        lost = "; ".join(sorted({row["lost"] for row in rows if "lost" in row}))
        doubts = ", ".join(sorted({code for row in kept for code in row["findings"]}))
        note = "  ".join(filter(None, (f"{len(rows) - len(kept)} of {len(rows)} lost: {lost}" if lost else "", doubts)))
        if not kept:
            lines.append(f"{load:5g}  {server:<18} {'lost':>9} {'':>15} {'':>8} {'':>8}  {note}")
            continue
        goodput = [100 * row["goodput"] for row in kept]
        p50, p99 = ([1e3 * row[name] for row in kept if row[name] is not None] for name in ("p50", "p99"))
        shown = [f"{statistics.median(values):8.1f}" if values else f"{'–':>8}" for values in (p50, p99)]
        lines.append(
            f"{load:5g}  {server:<18} {statistics.median(goodput):7.1f} % {min(goodput):6.1f} … {max(goodput):6.1f} "
            f"{shown[0]} {shown[1]}  {note}"
        )
    return lines


class Bench:
    """Runs cells.

    Args:
        homes: environment → its interpreter.
        model: ``"sleep"``, ``"identity"`` or ``"bundle"``.
        out: folder of the cells.
        seconds: counted part of a cell.
        bundle: folder of the bundle.
        arrivals: as ``strop load`` reads them.
    """

    def __init__(
        self,
        homes: Mapping[str, str],
        model: str,
        out: Path,
        seconds: float,
        bundle: Path | None = None,
        arrivals: str = "poisson",
    ) -> None:
        self._homes, self._model, self._cells, self._seconds = homes, model, out / "cells", seconds
        self._arrivals = arrivals
        self._cells.mkdir(parents=True, exist_ok=True)
        cores = sorted(os.sched_getaffinity(0))
        self._server_core, self._client_core = cores[0], cores[-1]
        self._environment = {**os.environ, **({BUNDLE: str(bundle.absolute())} if bundle else {})}
        rows = sentences() if bundle else [{"x": [0.5, 1.5, 2.5, 3.5]}]
        self._plain, self._protocol = out / "plain.jsonl", out / "protocol.jsonl"
        self._plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._protocol.write_text("".join(json.dumps(oip(row)) + "\n" for row in rows))
        self.capacity = CAPACITY.get(model) or self._measured_capacity(out / "capacity.json")

    def _measured_capacity(self, record: Path) -> float:
        """Measure how many sentences a second the bundle answers on the server's core; kept with the cells."""
        if not record.exists():
            done = subprocess.run(
                [sys.executable, str(SERVERS / "capacity.py"), str(self._plain), str(OBJECTIVE)],
                env=self._environment, stdout=subprocess.PIPE, text=True, check=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {self._server_core}),
            )  # fmt: skip
            record.write_text(done.stdout)
        return float(json.loads(record.read_text())["per_second"])

    def run(self, cell: Cell, seconds: float | None = None) -> dict[str, Any]:
        """Measure a cell, for other than the usual ``seconds`` if told, unless it is there already; return its figures."""
        folder = self._cells / cell.folder
        if not (folder / "load.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            said = self._measure(cell, folder, seconds or self._seconds)
            if not (folder / "load.json").exists():
                folder.mkdir(exist_ok=True)
                (folder / "lost.txt").write_text(said or "the load gave no result", encoding="utf-8")
        return read_cell(folder)

    def _measure(self, cell: Cell, folder: Path, seconds: float) -> str:
        port = free_port("127.0.0.1", 0)
        ours = cell.server.home == "here"
        options = [f"--{name}={value}" for name, value in cell.server.settings.items()]
        options += [f"--objective={OBJECTIVE}"] if ours else []
        python, script = self._homes[cell.server.home], str(SERVERS / cell.server.script)
        server = subprocess.Popen(
            [python, script, f"--port={port}", f"--model={self._model}", *options],
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {self._server_core}),
        )  # fmt: skip
        try:
            rate, path = cell.load * self.capacity, cell.server.path.replace("MODEL", self._model)
            body = self._protocol if cell.server.protocol else self._plain
            if not _answers(f"http://127.0.0.1:{port}{path}", body.read_bytes().splitlines()[0], server):
                return "the server did not start"
            load = [
                sys.executable, "-m", "strop", "load", f"http://127.0.0.1:{port}{path}", "--input", str(body),
                "--rate", f"{rate:.3f}/s", "--seconds", f"{seconds}s", "--warmup", "2s", "--seed", str(cell.round + 1),
                "--objective", f"{OBJECTIVE}s", "--out", str(folder), "--quiet", "--timeout", "5s",
                "--arrivals", self._arrivals,
            ]  # fmt: skip
            done = subprocess.run(
                load, capture_output=True, text=True, check=False,
                preexec_fn=lambda: os.sched_setaffinity(0, {self._client_core}),
            )  # fmt: skip
            return done.stderr.strip()[-300:]
        finally:
            _end(server)


def sentences() -> list[dict[str, list[int]]]:
    """Return tokens of sentences in their natural lengths, as clients of the rivals send them."""
    sys.path.insert(0, str(HERE.parents[1]))
    from examples.data import sentiment
    from examples.minilm_sentiment.workload import encode

    examples = [encode([sentence]) for sentence in sentiment().head[:SENTENCES]]
    return [{name: tensor[0].tolist() for name, tensor in example.items()} for example in examples]


def oip(row: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the same request in the Open Inference Protocol."""
    kinds = {name: "INT64" if isinstance(values[0], int) else "FP32" for name, values in row.items()}
    return {"inputs": [{"name": n, "shape": [1, len(v)], "datatype": kinds[n], "data": list(v)} for n, v in row.items()]}


def _answers(url: str, body: bytes, server: subprocess.Popen[bytes]) -> bool:
    """Send a request until it is answered, or the server has ended: it may listen before its model is there."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and server.poll() is None:
        request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - an address made here
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):  # noqa: S310
                return True
        except OSError:
            time.sleep(0.2)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it started; they share a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()


def main() -> None:
    """Tune, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="mosec,litserve", help=f"rivals, of {', '.join(RIVALS)}  [default: mosec,litserve]")
    parser.add_argument("--rivals", default=sys.executable, help="interpreter of an environment with mosec, LitServe, Ray Serve")
    parser.add_argument("--mlserver", default=sys.executable, help="interpreter of an environment with MLServer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="a bundle of the MiniLM example, in place of --model")
    parser.add_argument("--model", choices=CAPACITY, default="sleep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--tuning-seconds", type=float, default=None, help="of a tuning cell  [default: --seconds]")
    parser.add_argument("--arrivals", default="poisson", help="as strop load reads them, for instance a file of times")
    parser.add_argument("--loads", default=",".join(map(str, LOADS)))
    parser.add_argument("--untuned", action="store_true", help="leave the tuning out")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if unknown := set(asked.servers.split(",")) - set(RIVALS):
        parser.error(f"no such rivals: {', '.join(sorted(unknown))}; choose of {', '.join(RIVALS)}")
    rivals = [RIVALS[name] for name in asked.servers.split(",")]
    if asked.bundle and RIVALS["mlserver"] in rivals:
        parser.error("MLServer batches tensors of one shape only, so it is not compared with a bundle; leave it out")
    model = "bundle" if asked.bundle else asked.model
    asked.out.mkdir(parents=True, exist_ok=True)
    homes = {name: str(Path(path).absolute()) for name, path in (("rivals", asked.rivals), ("mlserver", asked.mlserver))}
    bench = Bench({"here": sys.executable, **homes}, model, asked.out, asked.seconds, asked.bundle, asked.arrivals)
    print(f"load 1 is {bench.capacity:.0f} requests per second", file=sys.stderr)
    results: dict[str, dict[str, Any]] = {}
    servers = [STROP, *([ONE_LENGTH] if asked.bundle else []), *rivals]
    if not asked.untuned:
        for cell in tuning_cells(rivals):
            results[cell.folder] = bench.run(cell, asked.tuning_seconds)
        servers += [best(rival, results) for rival in rivals]
    cells = main_cells(servers, [float(load) for load in asked.loads.split(",")], asked.rounds, asked.seed)
    for place, cell in enumerate(cells, start=1):
        results[cell.folder] = bench.run(cell)
        print(f"{place} of {len(cells)}: {cell.folder}", file=sys.stderr)
    (asked.out / "result.json").write_text(json.dumps(results, indent=1))
    print("\n".join(table(cells, results)))


if __name__ == "__main__":
    main()
