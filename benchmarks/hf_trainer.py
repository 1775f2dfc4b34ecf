"""Fine-tuning MiniLM: strop's recipes against Hugging Face's Trainer, at equal batch size, in one interleaved run.

    pip install 'accelerate>=1.15'
    python benchmarks/hf_trainer.py examples/minilm_finetune/recipe.yaml [OTHER.yaml …] --seconds 600 --out runs/hf-trainer

Every arm is a process that trains the workload of ``examples/minilm_finetune`` epoch after epoch: the same model and samples,
batches of 32, AdamW, gradients clipped to norm 1, two cores. The arms take turns: an epoch is cut into slices of
:data:`SLICE` steps, and in each slice they run one after the other in a drawn order while the others are stopped. Each epoch
holds every sample once, however the batches were made of them, so that the quotient of two arms' times for an epoch is the
quotient of their samples per second; the interval is Student's over the epochs' log-quotients, which are pairs.

``Trainer`` runs as it comes (DataCollatorWithPadding, its own AdamW, linear decay), and with bf16 and batches grouped by
length. It neither evaluates nor saves nor logs in the timed steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from strop.catalogue import read_recipe, recipe_from_json
from strop.contract.recipe import Recipe
from strop.errors import StropError
from strop.loop.loop import TrainingLoop
from strop.measure.arm import Arm, ArmSpec
from strop.measure.host import read_host
from strop.pipeline import Outcome, begin_training, told
from strop.trial.training import training_draft

ROOT = Path(__file__).resolve().parents[1]
"""What the arms' processes must find on their path: the example, and this file."""

SLICE = 5
"""Optimizer steps of a turn."""
POINT = "slice"
RIVALS: Mapping[str, Mapping[str, Any]] = {
    "Trainer, defaults": {},
    "Trainer, bf16 + group_by_length": {"bf16": True, "train_sampling_strategy": "group_by_length"},
}
ENOUGH = 10_000
"""Epochs the arms plan, more than are ever measured."""
SEED = 0


class Turns:
    """What both kinds of arm have in common: one call is one slice; padding is counted where batches are collated."""

    def __init__(self) -> None:
        self.points = {POINT: 1}
        self.steps = self.computed = self.real = 0

    def count(self, mask: Any) -> None:
        """Note a batch's tokens, given its attention mask."""
        self.computed, self.real = self.computed + mask.numel(), self.real + int(mask.sum())

    def digest(self, point: str, index: int) -> str:
        """Nothing is compared by it."""
        return ""

    def shapes(self, point: str, index: int) -> list[int]:
        """Nothing is compared by them."""
        return []


class StropArm(Turns):
    """strop's loop by a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        from examples.minilm_finetune.train import workload

        super().__init__()
        draft = training_draft(workload(), SEED)
        assert draft.training is not None
        training, collate = draft.training, draft.training.collate

        def counted(samples: list[Any]) -> Any:
            batch = collate(samples)
            self.count(batch["attention_mask"])
            return batch

        training.epochs, training.collate = ENOUGH, counted
        tallies = begin_training(draft, recipe, read_host(accelerators=False))
        training.steps = ENOUGH  # so that the batches of all these epochs need not be drawn up to count them
        self.steps, self.computed, self.real = len(training.batches(0)), 0, 0
        self._loop = TrainingLoop(draft.model, training, seed=SEED)
        self._loop.__enter__()
        self._told: Callable[[], Any] = lambda: told(draft, recipe, draft.engine, tallies)

    def run(self, point: str, index: int) -> None:
        """Take the steps of a slice."""
        self._loop.run(SLICE)

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Say how many ``steps`` an epoch has, and what became of the recipe."""
        done = self._told()
        if done.outcome is not Outcome.PREPARED:
            raise ValueError(f"{done.outcome.value}: {done.reason}")
        return {"steps": self.steps, "computed": self.computed, "real": self.real, "tallies": dict(done.tallies)}

    def close(self) -> None:
        """Leave the loop."""
        self._loop.__exit__(None, None, None)


class TrainerArm(Turns):
    """``Trainer.train()`` in a thread of its own, which waits after each slice until the next turn comes."""

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

        from examples.data import sentiment
        from examples.minilm_finetune.train import RATE, build, tokens
        from examples.minilm_sentiment.workload import _folder

        super().__init__()
        samples = [tokens(sentence) for sentence in sentiment().head]
        pad, arm = DataCollatorWithPadding(AutoTokenizer.from_pretrained(str(_folder()))), self

        def counted(features: list[dict[str, Any]]) -> Any:
            batch = pad(features)
            self.count(batch["attention_mask"])
            return batch

        class Gate(TrainerCallback):  # type: ignore[misc, unused-ignore]
            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> Any:
                arm._left -= 1
                if arm._left == 0:
                    arm._done.set()
                    arm._go.wait()
                    arm._go.clear()
                control.should_training_stop = arm._closing
                return control

        arguments = TrainingArguments(
            output_dir=str(folder), per_device_train_batch_size=32, num_train_epochs=ENOUGH, learning_rate=RATE, seed=SEED,
            eval_strategy="no", save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
            **options,
        )  # fmt: skip
        trainer = Trainer(
            model=_with_loss(build()),
            args=arguments,
            train_dataset=[{"input_ids": sample.ids.tolist(), "labels": sample.label} for sample in samples],
            data_collator=counted,
            callbacks=[Gate()],
        )
        self.steps = math.ceil(len(samples) / 32)
        self._left, self._closing = 0, False
        self._go, self._done = threading.Event(), threading.Event()
        self._thread, self._trainer = ThreadPoolExecutor(1), trainer
        self._training: Future[Any] | None = None

    def run(self, point: str, index: int) -> None:
        """Let the thread take the steps of a slice."""
        self._left = SLICE
        self._done.clear()
        if self._training is None:
            self._training = self._thread.submit(self._trainer.train)
            self._training.add_done_callback(lambda ended: self._done.set())
        else:
            self._go.set()
        self._done.wait()
        if self._training.done():
            self._training.result()  # raises what ended it

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Say how many ``steps`` an epoch has."""
        return {"steps": self.steps, "computed": self.computed, "real": self.real, "tallies": {}}

    def close(self) -> None:
        """Let training end."""
        self._closing = True
        self._left = ENOUGH
        self._go.set()
        self._thread.shutdown()


def _with_loss(model: Any) -> Any:
    """Return the classifier in the form that Trainer asks for: given labels, it answers with the mean loss."""
    from torch import nn
    from torch.nn import functional

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> dict[str, Any]:
            logits = self.inner(input_ids, attention_mask)
            return {"loss": functional.cross_entropy(logits, labels), "logits": logits}

    return Classifier()


def open_strop(arguments: Mapping[str, Any]) -> StropArm:
    """Build strop's arm from the recipe in ``arguments``."""
    return StropArm(recipe_from_json(arguments["recipe"]))


def open_trainer(arguments: Mapping[str, Any]) -> TrainerArm:
    """Build Trainer's arm from its options and the folder it may write to."""
    return TrainerArm(arguments["options"], Path(arguments["folder"]))


@dataclass(frozen=True)
class Epochs:
    """What was measured of an arm: seconds of each epoch, tokens computed per real one, what the instructions changed."""

    seconds: tuple[float, ...]
    computed: float
    tallies: Mapping[str, Mapping[str, int]]


def measure(arms: Mapping[str, Arm], until: float, drawn: random.Random) -> dict[str, Epochs]:
    """Let the arms take turns through whole epochs, the first one not timed, while another fits in before ``until``.

    All arms are parked. ``until`` is a time of :func:`time.monotonic`.
    """
    sizes = {name: arm.call("size") for name, arm in arms.items()}
    slices = {size["steps"] // SLICE for size in sizes.values() if size["steps"] % SLICE == 0}
    if len(slices) != 1 or any(size["steps"] % SLICE for size in sizes.values()):
        raise ValueError(f"arms must take equally many slices of {SLICE} steps an epoch; got steps {sizes}")
    (count,) = slices
    times: dict[str, list[float]] = {name: [] for name in arms}
    for epoch in range(ENOUGH):
        begun, spent = time.monotonic(), dict.fromkeys(arms, 0.0)
        for part in range(count):
            if epoch == 0 and part == 0:
                continue  # loading took it
            for name in drawn.sample(list(arms), len(arms)):
                spent[name] += sum(arms[name].block(POINT, [0], timeout=600.0).calls_ns) / 1e9
        for name, seconds in spent.items():
            if epoch:
                times[name].append(seconds)
        if time.monotonic() + (time.monotonic() - begun) > until:
            break
    found = {name: arm.call("size") for name, arm in arms.items()}
    return {
        name: Epochs(tuple(times[name]), found[name]["computed"] / found[name]["real"], found[name]["tallies"]) for name in arms
    }


def quotient(baseline: Sequence[float], candidate: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return lower end, estimate and upper end of how many times faster the candidate is; epochs are pairs."""
    logs = [math.log(b / c) for b, c in zip(baseline, candidate, strict=True)]
    if len(logs) < 2:
        raise ValueError(f"an interval needs two epochs or more, got {len(logs)}")
    reach = stats.t.ppf((1 + confidence) / 2, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    middle = fmean(logs)
    return math.exp(middle - reach), math.exp(middle), math.exp(middle + reach)


def table(found: Mapping[str, Epochs], samples: int) -> str:
    """Say how fast each arm was, and how much faster than each rival."""
    rivals = [name for name in RIVALS if name in found]
    lines = [f"| arm | samples/s | tokens computed per real one | {' | '.join(f'× {name}' for name in rivals)} |"]
    lines.append("|---|" + "---|" * (2 + len(rivals)))
    for name, arm in found.items():
        cells = [f"{samples / fmean(arm.seconds):.1f}", f"{arm.computed:.2f}"]
        for rival in rivals:
            low, middle, high = quotient(found[rival].seconds, arm.seconds)
            cells.append("1" if rival == name else f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ours(recipe: Recipe, path: Mapping[str, str]) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return what opens strop's arm, with which arguments and in which environment."""
    launch = {key: value for i in recipe for key, value in i.launch(read_host()).environment.items()}
    return "open_strop", {"recipe": recipe.to_json()}, {**path, **launch}


def main() -> int:
    """Start the arms, let them take turns, print the table and keep the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path, help="recipes of strop; each becomes an arm")
    parser.add_argument("--seconds", type=float, default=600.0, help="time for all of it")
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--out", type=Path, required=True)
    asked, begun = parser.parse_args(), time.monotonic()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    rivals = {name: ("open_trainer", {"options": dict(RIVALS[name]), "folder": str(asked.out)}, path) for name in asked.rivals}
    ours = {file.stem: _ours(read_recipe(file), path) for file in asked.recipes}
    specs = {
        name: ArmSpec(name=name, target=f"benchmarks.hf_trainer:{opens}", arguments=arguments, environment=environment)
        for name, (opens, arguments, environment) in {**rivals, **ours}.items()
    }
    arms: dict[str, Arm] = {}
    try:
        for number, (name, spec) in enumerate(specs.items()):
            arms[name] = Arm.start(spec, seed=number, log=asked.out / f"arm-{number}.log")
            arms[name].load()
            arms[name].park()
        found = measure(arms, begun + asked.seconds, random.Random(SEED))
    except StropError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for arm in arms.values():
            arm.close()
    if min(len(arm.seconds) for arm in found.values()) < 2:
        print(f"{asked.seconds:g} s hold fewer than two timed epochs of all arms; give more", file=sys.stderr)
        return 1
    rows = {name: {"seconds": arm.seconds, "computed": arm.computed, "tallies": arm.tallies} for name, arm in found.items()}
    (asked.out / "epochs.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(found, samples=800))
    return 0


if __name__ == "__main__":
    sys.exit(main())
