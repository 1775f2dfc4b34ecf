"""The documented call of dynamic batching."""

from __future__ import annotations

from strop.compat import dynamic_batching


def test_samples_of_similar_length_come_together_each_once() -> None:
    samples = ["a" * n for n in (5, 1, 3, 9, 2, 8, 3)]
    batches = dynamic_batching(samples, 3)
    assert [[len(sample) for sample in batch] for batch in batches] == [[1, 2, 3], [3, 5, 8], [9]]
    assert dynamic_batching(samples, max_batch_size=3) == batches
