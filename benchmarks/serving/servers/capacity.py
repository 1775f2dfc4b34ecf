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
TAKES, PASSES = 8, 3
"""Different batches of a size, and how often each is answered; only the last pass counts, when every shape was met before."""


def main(source: str, objective: float) -> None:
    """Time batches of neighbouring sentences and print the best rate."""
    rows = [json.loads(line) for line in Path(source).read_text().splitlines()]
    found = {}
    for size in BATCHES:
        for _ in range(PASSES):
            times = []
            for take in range(TAKES):
                first = take * size % (len(rows) - size)
                began = time.perf_counter()
                bundle(rows[first : first + size])
                times.append(time.perf_counter() - began)
        if (seconds := median(times)) <= objective / 2:
            found[size] = size / seconds
    print(json.dumps({"per_second": max(found.values()), "by_batch": found}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
