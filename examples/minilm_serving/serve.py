"""A sentence classifier being served: which batching answers most requests in time?

    strop optimize examples/minilm_serving/serve.py --aim goodput --budget 5m --out runs/minilm-serving
    strop serve runs/minilm-serving-bundle --recipe runs/minilm-serving/recipe.yaml --objective 95ms

Requests are single sentences of their natural lengths, 6 to 60 tokens, in the order of the evaluation data. The bundle is that
of ``STROP_BUNDLE``; where none is named, the recipe beside this file is applied to ``examples/minilm_sentiment`` once, which
takes a minute. ``STROP_ARRIVALS`` names other arrivals, for instance the CSV file of ``examples/mail_arrivals.py``;
``STROP_RATE`` another rate.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import strop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # so that any process finds the data the examples share
from examples.data import sentiment
from examples.minilm_sentiment.workload import encode

BUNDLE = Path("runs/minilm-serving-bundle")
SENTENCES = 256


def workload() -> strop.ServingWorkload:
    """The workload: sentences by Poisson, to be answered within 100 ms."""
    return strop.ServingWorkload(
        name="MiniLM sentiment, served",
        bundle=bundle(),
        objective="100ms",
        rate=os.environ.get("STROP_RATE", "400/s"),
        arrivals=os.environ.get("STROP_ARRIVALS", "poisson"),
        inputs=[encode([sentence]) for sentence in sentiment().screening[:SENTENCES]],
    )


def bundle() -> Path:
    """Return the bundle that is served; make it where there is none."""
    named = os.environ.get("STROP_BUNDLE")
    if named:
        return Path(named)
    if not (BUNDLE / "manifest.json").exists():
        strop.apply(HERE / "bundle.yaml", HERE.parent / "minilm_sentiment" / "workload.py", out=BUNDLE)
    return BUNDLE
