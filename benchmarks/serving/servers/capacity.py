"""How many sentences a second a bundle answers on this core, in batches that take half the objective.

capacity.py ROWS.jsonl SECONDS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

from models import bundle

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PASSES = 3
"""How often each batch is answered; only the last pass counts, when every shape was met before."""


def main(source: str, objective: float) -> None:
    """Time batches of sentences of like length, all of them once, and print the best rate."""
    rows = sorted(map(json.loads, Path(source).read_text().splitlines()), key=lambda row: len(row["input_ids"]))
    found = {}
    for size in BATCHES:
        for _ in range(PASSES):
            times = []
            for first in range(0, len(rows) - size + 1, size):
                began = time.perf_counter()
                bundle(rows[first : first + size])
                times.append(time.perf_counter() - began)
        if median(times) <= objective / 2:
            found[size] = size * len(times) / sum(times)
    print(json.dumps({"per_second": max(found.values()), "by_batch": found}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
