"""Plain PyTorch, for comparison with strop's baseline: median time of a MiniLM call, eval and inference_mode, all cores."""

import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples.minilm_sentiment.workload import workload

job = workload()
model = job.model().eval()
with torch.inference_mode():
    for name, examples in job.inputs.items():
        times = []
        for k in range(max(100, 4 * len(examples)) if name == "batch 1" else 5 * len(examples)):
            start = time.perf_counter()
            model(**examples[k % len(examples)])
            times.append(time.perf_counter() - start)
        print(f"{name}: p50 {1000 * median(times[len(examples) :]):.2f} ms, {torch.get_num_threads()} threads")
