"""What every engine must do: the same answers, structures, kinds, counts and refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop import engines
from strop.contract.draft import EngineOptions, Precision
from strop.contract.pytree import Record, flatten
from strop.contract.signature import as_call
from strop.contract.tally import Tally
from strop.errors import PrepareError, RecipeError, UsageError, WorkloadError

ALL = engines.names()
QUICK = [name for name in ALL if name != "inductor"]
"""Compiling takes inductor ten seconds a model, so it does not take part in every combination."""


def worst(got: Any, want: Any) -> float:
    pairs = zip(flatten(got)[0], flatten(want)[0], strict=True)
    return max(float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max()) for a, b in pairs)


def test_names_are_sorted_and_get_returns_the_named_engine() -> None:
    assert ALL == ("eager", "inductor", "onnxruntime", "openvino")
    assert [engines.get(name).name for name in ALL] == list(ALL)


def test_an_unknown_engine_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match=r"no engine 'openvno'\. Did you mean 'openvino'"):
        engines.get("openvno")


def test_asking_for_engines_imports_no_heavy_package() -> None:
    code = (
        "import sys; from strop import engines; [engines.get(n).available() for n in engines.names()];"
        "heavy = {'torch', 'openvino', 'nncf', 'onnx', 'onnxruntime'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ALL)
def test_a_convolutional_net_answers_the_same_at_batch_sizes_never_seen(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Conv(), [torch.randn(b, 3, 12, 12) for b in (4, 1)], engine=name)
    program = tiny.open(draft, tmp_path)
    for batch in (1, 2, 3, 7):
        x = torch.randn(batch, 3, 12, 12)
        with torch.inference_mode():
            assert worst(program(x), draft.model(x)) < 1e-4


@pytest.mark.parametrize("name", ALL)
def test_a_transformer_answers_the_same_at_shapes_never_seen(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.bert(), [tiny.tokens(4, 16), tiny.tokens(1, 9)], engine=name)
    program = tiny.open(draft, tmp_path)
    cut = draft.lowering.to_json().get("operators cut to what is read", 0)
    assert (cut >= 11) == (name != "eager"), "its classifier reads the first token only"
    for batch, length in ((1, 1), (1, 5), (3, 30), (2, 2)):
        call = tiny.tokens(batch, length, seed=length)
        with torch.inference_mode():
            want = draft.model(**call)
        got = program(**call)
        assert isinstance(got, Record) and got.logits.dtype == torch.float32
        assert worst(got, dict(want)) < 1e-4


@pytest.mark.parametrize("kind", ["dict", "dataclass", "tuple"])
@pytest.mark.parametrize("name", QUICK)
def test_structured_answers_come_back_in_their_structure(name: str, kind: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    def call(batch: int) -> tuple[tuple[torch.Tensor], dict[str, torch.Tensor]]:
        return (torch.randn(batch, 8),), {"ignored": torch.ones(3), "scale": torch.rand(8)}

    model = tiny.Structured(kind)
    wrapper = torch.nn.Module()
    wrapper.model = model
    wrapper.forward = lambda x, scale, ignored: model(x, scale=scale, ignored=ignored)
    examples = [{"x": args[0], **kwargs} for args, kwargs in map(call, (3, 2))]
    draft = tiny.draft(wrapper, examples, engine=name)
    (x,), rest = call(5)
    got, want = tiny.open(draft, tmp_path)(x=x, **rest), model(x, **rest)
    if kind == "dict":
        assert type(got) is dict and list(got) == ["logits", "hidden"]
        assert torch.allclose(got["logits"], want["logits"], atol=1e-5)
    elif kind == "dataclass":
        assert got.nothing is None
        assert torch.allclose(got.hidden, want.hidden, atol=1e-5) and torch.allclose(got[0], want.logits, atol=1e-5)
    else:
        assert isinstance(got, tuple) and isinstance(got[1], list) and got[1][1][1] is None
        assert torch.allclose(got[1][1][0], want[1][1][0], atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_answers_come_in_the_kind_of_the_call_and_survive_the_next_call(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine=name)
    program = tiny.open(draft, tmp_path)
    x = torch.randn(3, 16)
    first = program(x)
    kept = first.clone()
    array = program(x.numpy())
    program(torch.randn(3, 16))
    assert isinstance(first, torch.Tensor) and isinstance(array, np.ndarray)
    assert torch.equal(first, kept)
    np.testing.assert_allclose(array, kept.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", QUICK)
def test_inputs_in_any_memory_layout_are_read_right(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine=name)
    program = tiny.open(draft, tmp_path)
    x = torch.randn(16, 6).T
    read_only = x.contiguous().numpy().copy()
    read_only.flags.writeable = False
    with torch.inference_mode():
        want = draft.model(x)
    assert worst(program(x), want) < 1e-5
    assert worst(program(x.numpy()), want) < 1e-5
    assert worst(program(read_only), want) < 1e-5


@pytest.mark.parametrize("name", [n for n in QUICK if n != "eager"])
def test_calls_that_do_not_fit_are_refused_by_name(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine=name)
    program = tiny.open(draft, tmp_path)
    with pytest.raises(WorkloadError, match=r"args_0 is float32\[2, 15\]; the program was prepared for float32\[any, 16\]"):
        program(np.zeros((2, 15), np.float32))
    with pytest.raises(WorkloadError, match="float64"):
        program(torch.zeros(2, 16, dtype=torch.float64))
    with pytest.raises(WorkloadError):
        program(torch.zeros(2, 16), torch.zeros(2, 16))


@pytest.mark.parametrize("name", [n for n in ALL if n != "openvino"])
def test_buckets_are_refused_where_there_are_none(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    engine = engines.get(name)
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], engine=name, engine_options=EngineOptions(buckets=2))
    assert "no shape buckets" in str(engine.decline(draft, tiny.HOST))
    with pytest.raises(UsageError, match="buckets=2"):
        engine.open(tmp_path, draft.signature, EngineOptions(buckets=2), lambda: draft.model)


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_bfloat16_is_counted_and_close(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    intent = Precision(dtype="bfloat16", tally=Tally())
    draft = tiny.draft(tiny.bert(), [tiny.tokens(4, 16), tiny.tokens(1, 9)], engine=name, precision=intent)
    program = tiny.open(draft, tmp_path)
    assert intent.tally.total > 0
    call = tiny.tokens(2, 12)
    with torch.inference_mode():
        want = draft.model(**call).logits
    got = program(**call).logits
    assert got.dtype == torch.float32
    assert 0 < worst(got, want) < 0.05


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_bfloat16_that_changes_nothing_counts_nothing(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    intent = Precision(dtype="bfloat16", tally=Tally())
    draft = tiny.draft(
        torch.nn.Flatten(), [torch.randint(0, 9, (2, 3, 4)), torch.randint(0, 9, (1, 3, 4))], engine=name, precision=intent
    )
    tiny.open(draft, tmp_path)
    assert intent.tally.total == 0


@pytest.mark.parametrize("name", ALL)
def test_low_precision_that_cannot_run_is_declined_in_words(name: str, tiny: SimpleNamespace) -> None:
    from strop.measure.host import Host

    old = Host(cpu="an old CPU", cores=1, isa=frozenset({"avx2"}))
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], engine=name, precision=Precision(dtype="bfloat16", tally=Tally()))
    assert engines.get(name).decline(draft, old)
    draft.precision = Precision(dtype="float16", tally=Tally())
    assert "float16" in str(engines.get(name).decline(draft, tiny.HOST))
    draft.precision = None
    assert engines.get(name).decline(draft, old) is None


@pytest.mark.parametrize("name", [n for n in ALL if n != "eager"])
def test_a_model_that_cannot_be_captured_is_a_prepare_error(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum().item() > 0 else x - 1

    draft = tiny.draft(Branching(), [torch.randn(3, 4), torch.randn(2, 4)], engine=name)
    with pytest.raises(PrepareError, match=r"torch\.export cannot capture Branching"):
        engines.get(name).lower(draft, tmp_path)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_engines_without_torch_open_and_answer_in_a_process_that_never_imports_it(
    name: str, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    import json

    draft = tiny.draft(tiny.bert(), [tiny.tokens(4, 16), tiny.tokens(1, 9)], engine=name)
    engines.get(name).lower(draft, tmp_path)
    (tmp_path / "signature").write_text(json.dumps(draft.signature.to_json()))
    code = """
import json, sys, pathlib, numpy as np
from strop import engines
from strop.contract.draft import EngineOptions
from strop.contract.signature import Signature
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
signature = Signature.from_json(json.loads((folder / "signature").read_text()))
assert not engines.get(name).imports_torch
program = engines.get(name).open(folder, signature, EngineOptions(buckets=2 if name == "openvino" else 0))
ids = np.ones((1, 7), np.int64)
answer = program(input_ids=ids, attention_mask=ids)
assert answer.logits.shape == (1, 2), answer
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, name, str(tmp_path)], check=True)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["eager", "onnxruntime", "openvino"])
def test_too_many_threads_are_refused_or_taken_as_asked(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], engine=name)
    before = torch.get_num_threads()
    program = tiny.open(draft, tmp_path, EngineOptions(threads=1))
    (args, kwargs) = as_call(draft.examples[0])
    program(*args, **kwargs)
    if name == "eager":
        assert torch.get_num_threads() == 1
    program.close()
    assert torch.get_num_threads() == before
    with pytest.raises(UsageError, match="threads=4096"):
        tiny.open(draft, tmp_path, EngineOptions(threads=4096))
