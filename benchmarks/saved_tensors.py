"""What the memory of training a language model goes to, and what recomputing, packing and a chunked loss each save.

    python benchmarks/saved_tensors.py --rounds 4 --out runs/saved-tensors

Every combination of instruction 23 (gradient checkpointing), 16 (packing in bfloat16) and the chunked loss of
examples/language_model, in one process. Bytes are counts of the framework's allocator and repeat exactly: *held* between
forward and backward, and the *peak* of a whole step, weights and optimizer state left out of both. Times are of steps
taken in turn, each round in another order; the ratio to the plain step of the same round is what is compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from strop.contract.recipe import Recipe
from strop.instructions.training.i16_memory_compression import MemoryCompression
from strop.instructions.training.i23_gradient_checkpointing import GradientCheckpointing
from strop.loop.loop import TrainingLoop
from strop.measure.host import read_host
from strop.measure.memory import tensor_held, tensor_peak
from strop.pipeline import begin_training
from strop.trial.training import training_draft
from strop.units import show_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples.language_model.train import chunked, workload

CHUNKED = "chunked loss"
PARTS = {"checkpointing": GradientCheckpointing(), "packing": MemoryCompression()}
ARMS = [arm for count in range(4) for arm in itertools.combinations([*PARTS, CHUNKED], count)]


class Arm:
    """A training that is under way.

    Args:
        parts: what it does to save memory.
        stack: leaves the training.
    """

    def __init__(self, parts: Sequence[str], stack: ExitStack) -> None:
        self.name = " + ".join(parts) or "plain"
        draft = training_draft(chunked() if CHUNKED in parts else workload(), 0)
        assert draft.training is not None
        begin_training(draft, Recipe([PARTS[part] for part in parts if part in PARTS]), read_host())
        self._loop = stack.enter_context(TrainingLoop(draft.model, draft.training, seed=0))
        self._samples = draft.training.batches(0)[0]
        self.step()
        self.loss = float(self._loop.step_loss)  # of the first weights: equal in all arms
        self.held = self._held()
        self.peak = tensor_peak(self.step)
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take an optimizer step, always on the same sequences."""
        self._loop.take(self._samples)

    def _held(self) -> int:
        """Return the bytes that live between forward and backward."""
        (micro,), earlier = self._loop.micros(self._samples), (self._loop.outputs, self._loop.loss)
        held = tensor_held(lambda: self._loop.forward(micro))
        del earlier  # now, for its release is not forward's doing
        return held

    def timed(self) -> None:
        """Take a step and note how long it took."""
        start = time.perf_counter()
        self.step()
        self.seconds.append(time.perf_counter() - start)


def main() -> None:
    """Measure, print the table, write ``result.json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        arms = [Arm(parts, stack) for parts in ARMS]
        order = random.Random(0)
        for _ in range(options.rounds):
            for arm in order.sample(arms, len(arms)):
                arm.timed()
        plain, rows = arms[0], []
        print(f"{'':42}{'held':>10}{'less':>7}{'peak':>11}{'less':>7}   step, times plain (least to most)")
        for arm in arms:
            ratios = sorted(own / base for own, base in zip(arm.seconds, plain.seconds, strict=True))
            middle = statistics.median(ratios)
            less, lower = 1 - arm.held / plain.held, 1 - arm.peak / plain.peak
            print(
                f"{arm.name:42}{show_bytes(arm.held):>10}{less:>7.1%}{show_bytes(arm.peak):>11}{lower:>7.1%}"
                f"   {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
            rows.append({"arm": arm.name, "held": arm.held, "peak": arm.peak, "seconds": arm.seconds, "loss": arm.loss})
    print(f"a plain step takes {statistics.median(plain.seconds):.2f} s; the first loss of all arms: {plain.loss:.4f}")
    (options.out / "result.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
