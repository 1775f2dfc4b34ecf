from __future__ import annotations

import numpy as np
import pytest

from strop.contract.draft import Facts
from strop.contract.service import Service
from strop.contract.ties import Trait
from strop.load.arrivals import poisson
from strop.load.window import Windows
from strop.measure.host import Host
from strop.search.rehearsed import best, recipes, rehearse
from strop.serve.latency import Seed
from strop.serve.request import Bucket
from strop.trial.serving import Traffic

HOST = Host(cpu="test", cores=2)
SEEDS = [Seed(width=4, rows=rows, seconds=20e-3 + 0.5e-3 * rows) for rows in (1, 8, 64)]


def traffic(rate: float) -> Traffic:
    windows = Windows(requests=(), draw=poisson, rate=rate, seconds=1.0, objective=0.1)
    return Traffic(windows=windows, buckets=[(Bucket("x", 4), 1)], batchable=True)


def test_every_combination_of_choices_is_proposed_and_the_default_comes_first() -> None:
    found = recipes(Facts(), HOST, frozenset({Trait.SERVING}))
    assert str(found[0]) == "43 dynamic_batching" and len(found) == len({r.key for r in found}) == 9
    assert recipes(Facts(), HOST, frozenset({Trait.SERVING}), only=[47]) == []
    assert recipes(Facts(), HOST, frozenset({Trait.INFERENCE})) == []


def test_virtual_time_tells_a_service_that_batches_from_one_that_does_not() -> None:
    single, batched = Service(objective=0.095), Service(objective=0.095, max_rows=64)
    assert rehearse(single, traffic(10), SEEDS, 0) > 0.95
    capacity = 1 / 20.5e-3
    assert rehearse(single, traffic(3 * capacity), SEEDS, 0) == pytest.approx(1 / 3, abs=0.05)
    assert rehearse(batched, traffic(3 * capacity), SEEDS, 0) > 0.99
    assert rehearse(batched, traffic(3 * capacity), SEEDS, 0) == rehearse(batched, traffic(3 * capacity), SEEDS, 0)


def test_only_what_is_noticeably_better_than_the_default_is_worth_a_server() -> None:
    assert best([0.9, 0.915, 0.91]) is None
    assert best([0.9, 0.95, 0.93]) == 1
    assert best([0.9, 0.1]) is None and best(list(np.zeros(3))) is None
