"""Is strop's result ever slower than the best single choice anyone could make by hand?

    python benchmarks/one_shot.py examples/minilm_sentiment/workload.py runs/minilm/bundle --out runs/one-shot-minilm

Prepares the usual one-shot choices in plain code, without strop's engines: bfloat16 autocast, ONNX Runtime in float32 and
with dynamic int8, OpenVINO at its defaults and with NNCF int8. Every choice is screened against eager PyTorch and answers
the confirming split; those that keep the quality budget are ranked. Then the bundle is measured against the best of them:
five rounds of fresh processes, coin-ordered pairs. Writes ``result.json`` and prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strop.api.bundles import open_bundle
from strop.contract.pytree import flatten, to_numpy
from strop.contract.quality import MaxDrop, scores
from strop.contract.signature import as_call
from strop.engines.quiet import import_nncf, import_openvino
from strop.measure.arm import Arm, ArmSpec
from strop.measure.collect import block_plan, profile, take_pair
from strop.measure.judge import Screen, judge_confirm
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.quality import QualityResult, judge_scores
from strop.measure.result import Comparison, Pair
from strop.measure.timing import WarmRule
from strop.trial.materials import build_model
from strop.trial.reference import parse_reference
from strop.units import show_speedup

ROWS = ("autocast bf16", "onnxruntime", "onnxruntime dynamic int8", "openvino default", "openvino nncf int8")
PLAN = ConfirmPlan(delta=0.0, rounds=5, pairs=12)


class Choice:
    """One opened choice, as a target of an arm."""

    def __init__(self, workload: Any, call: Any) -> None:
        self._calls = {point: [as_call(e) for e in inputs] for point, inputs in workload.inputs.items()}
        self._workload, self._call = workload, call
        self.points = {point: len(calls) for point, calls in self._calls.items()}

    def run(self, point: str, index: int) -> None:
        """Answer one call."""
        args, kwargs = self._calls[point][index]
        self._call(*args, **kwargs)

    def digest(self, point: str, index: int) -> str:
        """Not asked for here."""
        return ""

    def shapes(self, point: str, index: int) -> Any:
        """Not asked for here."""
        return []

    def call(self, method: str, arguments: Mapping[str, Any]) -> list[float]:
        """Score the confirming split."""
        split = self._workload.splits["confirming"]
        answers = [self._call(*args, **kwargs) for args, kwargs in map(as_call, split.inputs)]
        labels = list(split.labels or ())
        if self._workload.quality.against_original:
            original = _eager(self._workload, None)
            labels = [original(*args, **kwargs) for args, kwargs in map(as_call, split.inputs)]
        return [float(score) for score in scores(self._workload.quality, answers, labels)]

    def close(self) -> None:
        """Nothing is held."""


def open_choice(arguments: Mapping[str, Any]) -> Choice:
    """Open a prepared choice; runs in the arm's process."""
    workload, row, folder = parse_reference(arguments["workload"]).load(), arguments["row"], Path(arguments["folder"])
    if row in ("eager", "autocast bf16"):
        return Choice(workload, _eager(workload, "bf16" if row != "eager" else None))
    if row == "bundle":
        return Choice(workload, open_bundle(Path(arguments["bundle"])))
    names = json.loads((folder / "inputs.json").read_text())
    if row.startswith("onnxruntime"):
        import onnxruntime

        file = folder / ("int8.onnx" if "int8" in row else "model.onnx")
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return Choice(workload, lambda *a, **k: session.run(None, _feed(names, a, k))[0])
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(folder / ("int8.xml" if "int8" in row else "openvino.xml"), "CPU")
    request = compiled.create_infer_request()

    def call(*args: Any, **kwargs: Any) -> Any:
        arrays = _feed(names, args, kwargs)
        return request.infer([arrays[name] for name in names], share_inputs=True)[0].copy()

    return Choice(workload, call)


def _eager(workload: Any, precision: str | None) -> Any:
    import torch

    model = build_model(workload, 0)

    def call(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
            answer = model(*args, **kwargs)
            return answer.float()

    return call


def _feed(names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    leaves = [to_numpy(leaf) for leaf in flatten([list(args), dict(kwargs)])[0]]
    return dict(zip(names, leaves, strict=True))


def prepare(workload: Any, folder: Path) -> None:
    """Write what the choices open, as their own documentation does it."""
    import onnx
    import torch
    from onnxruntime.quantization import quantize_dynamic

    nncf, openvino = import_nncf(), import_openvino()
    model = build_model(workload, 0)
    points = list(workload.inputs.values())
    args, kwargs = as_call(max((e for inputs in points for e in inputs), key=lambda e: sum(a.numel() for a in flatten(e)[0])))
    leaves = flatten([list(args), kwargs])[0]
    names = [*(f"x{i}" for i in range(len(args))), *kwargs]
    dims = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} if leaves[0].dim() == 2 else {0: torch.export.Dim.DYNAMIC}
    shapes = tuple(dict(dims) for _ in args) if args else {name: dict(dims) for name in kwargs}
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
        torch.onnx.export(program, f=str(folder / "model.onnx"), external_data=False)
        graph = onnx.load(folder / "model.onnx")
        (folder / "inputs.json").write_text(json.dumps([i.name for i in graph.graph.input]))
        quantize_dynamic(folder / "model.onnx", folder / "int8.onnx")
        converted = openvino.convert_model(program)
        openvino.save_model(converted, folder / "openvino.xml", compress_to_fp16=False)
        calibration = [_feed(names, *as_call(e)) for e in workload.splits["calibration"].inputs]
        kind = nncf.ModelType.TRANSFORMER if leaves[0].dim() == 2 else None
        data = nncf.Dataset([list(sample.values()) for sample in calibration])
        source = openvino.Core().read_model(folder / "openvino.xml")
        quantized = nncf.quantize(source, data, model_type=kind, subset_size=len(calibration))
        openvino.save_model(quantized, folder / "int8.xml")


def arm(name: str, row: str, where: Mapping[str, str]) -> ArmSpec:
    """Describe the arm of a choice."""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return ArmSpec(name=name, target="one_shot:open_choice", arguments={**where, "row": row}, environment={"PYTHONPATH": paths})


def screen(row: str, where: Mapping[str, str], logs: Path) -> tuple[Comparison, list[float], list[float]]:
    """Compare a choice with eager PyTorch and return both arms' scores on the confirming split."""
    with (
        Arm.start(arm("baseline", "eager", where), seed=1, log=logs / f"{row}-eager.log") as eager,
        Arm.start(arm("candidate", row, where), seed=2, log=logs / f"{row}.log") as choice,
    ):
        profiles = []
        for one in (eager, choice):
            one.load()
            one.warm(rule=WarmRule(max_seconds=4.0))
            profiles.append(profile(one))
        plan, decision = ScreenPlan(), Screen(ScreenPlan(), tuple(eager.points))
        blocks, index, verdict = block_plan(*profiles), 0, None
        while verdict is None and index < plan.max_pairs:
            pair = take_pair(eager, choice, blocks, seed=0, comparison=row, index=index)
            index, verdict = index + 1, decision.add(pair)
        return decision.comparisons()["all"], eager.call("score"), choice.call("score")


def confirm(row: str, where: Mapping[str, str], logs: Path) -> dict[str, Comparison]:
    """Measure the bundle against a choice on fresh processes."""
    pairs: list[Pair] = []
    points: tuple[str, ...] = ()
    for number in range(PLAN.rounds):
        with (
            Arm.start(arm("baseline", row, where), seed=10 + number, log=logs / f"confirm-{number}-choice.log") as choice,
            Arm.start(arm("candidate", "bundle", where), seed=20 + number, log=logs / f"confirm-{number}-bundle.log") as bundle,
        ):
            profiles = []
            for one in (choice, bundle):
                one.load()
                one.warm(rule=WarmRule(max_seconds=4.0))
                profiles.append(profile(one))
            points, blocks = tuple(choice.points), block_plan(*profiles)
            for _ in range(PLAN.pairs):
                pairs.append(take_pair(choice, bundle, blocks, seed=0, comparison="bundle", index=len(pairs), round=number))
    return judge_confirm(pairs, PLAN, points)


def guard(workload: Any, drop: MaxDrop, before: list[float], after: list[float]) -> QualityResult:
    """Judge the answers of a choice by the guard that strop's own result had to pass."""
    ours, theirs = np.array(before), np.array(after)
    sources = workload.splits["confirming"].sources
    clusters = list(sources) if sources is not None and len(sources) == len(ours) else None
    return judge_scores(ours, theirs, margin=drop.margin(float(ours.mean())), metric=workload.quality.name, clusters=clusters)


def main() -> None:
    """Prepare, screen, guard, and confirm against the best choice that passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--max-drop", default="1%")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    workload, drop = parse_reference(options.workload).load(), MaxDrop.parse(options.max_drop)
    with tempfile.TemporaryDirectory(prefix="one-shot-") as place:
        folder = Path(place)
        prepare(workload, folder)
        where = {
            "workload": str(Path(options.workload).resolve()),
            "folder": str(folder),
            "bundle": str(options.bundle.resolve()),
        }
        passing: dict[str, float] = {}
        result: dict[str, Any] = {"rows": {}, "when": time.strftime("%Y-%m-%d")}
        for row in ROWS:
            compared, before, after = screen(row, where, folder)
            judged = guard(workload, drop, before, after) if not workload.quality.unjudged else None
            held = judged is None or judged.guard.value == "held"
            if held:
                passing[row] = compared.speedup.estimate
            s = compared.speedup
            said = f"{judged.guard.value}: {judged.describe()}" if judged else "not judged"
            print(f"{row:26} {show_speedup(s.low, s.estimate, s.high):22} {said}", flush=True)
            result["rows"][row] = {"speedup": s.to_json(), "quality": judged.to_json() if judged else None}
        best = max(passing, key=lambda row: passing[row], default=None)
        if best is None:
            sys.exit("no single choice keeps the quality budget")
        confirmed = confirm(best, where, folder)
        for point, comparison in confirmed.items():
            s = comparison.speedup
            print(f"bundle against {best}, {point}: {show_speedup(s.low, s.estimate, s.high)}  {comparison.verdict.value}")
        result |= {"best": best, "bundle": {point: c.to_json() for point, c in confirmed.items()}}
    (options.out / "result.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
