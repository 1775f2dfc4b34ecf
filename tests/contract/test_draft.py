"""The trial's state: its model is built when it is first asked for, once, and nothing is shared between drafts."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from strop.contract.draft import Draft, EngineOptions, Facts, Precision, Quantization
from strop.contract.quality import unjudged
from strop.contract.signature import infer_signature
from strop.contract.tally import Tally
from strop.contract.workload import InferenceWorkload
from strop.testing.models import training_draft

X = torch.ones(1, 2)
SIGNATURE = infer_signature([X], [X])
WORKLOAD = InferenceWorkload(model=nn.Identity, inputs={"all": [X]}, quality=unjudged("a test"))


def make(model: Any) -> Draft:
    return Draft(model=model, workload=WORKLOAD, facts=Facts(), seed=0, signature=SIGNATURE)


def build() -> nn.Module:
    return nn.Linear(2, 2)


def test_a_module_is_given_back_as_it_is() -> None:
    model = nn.Linear(2, 2)
    assert make(model).model is model


class Builder:
    """Builds by a bound method, and by being called."""

    def build(self) -> nn.Module:
        return nn.Linear(2, 2)

    def __call__(self) -> nn.Module:
        return nn.Linear(2, 2)


@pytest.mark.parametrize(
    "builder",
    [build, lambda: nn.Linear(2, 2), functools.partial(nn.Linear, 2, 2), Builder().build, Builder()],
    ids=["function", "lambda", "partial", "method", "object"],
)
def test_whatever_builds_a_model_is_asked_for_one_when_it_is_wanted(builder: Any) -> None:
    draft = make(builder)
    assert isinstance(draft.model, nn.Linear)
    assert draft.model is draft.model


def test_a_model_is_built_at_the_first_use_and_only_once() -> None:
    built: list[nn.Module] = []

    def counted() -> nn.Module:
        built.append(nn.Linear(2, 2))
        return built[-1]

    draft = make(counted)
    assert built == []
    assert draft.model is draft.model is built[0]
    assert len(built) == 1


def test_a_model_that_is_replaced_before_it_was_built_is_never_built() -> None:
    draft = make(lambda: pytest.fail("the model was built"))
    draft.model = nn.Identity()
    assert isinstance(draft.model, nn.Identity)


def test_a_builder_that_fails_says_so_each_time() -> None:
    def broken() -> nn.Module:
        raise OSError("no weights here")

    draft = make(broken)
    for _ in range(2):
        with pytest.raises(OSError, match="no weights here"):
            _ = draft.model


def test_a_draft_cannot_be_made_without_a_model() -> None:
    with pytest.raises(TypeError, match="model"):
        Draft(workload=WORKLOAD, facts=Facts(), seed=0, signature=SIGNATURE)


def test_drafts_share_no_state() -> None:
    one, two = make(build), make(build)
    one.engine_options.hints["x"] = "1"
    one.engine_options.threads = 3
    next(one.model.parameters()).data.fill_(9)
    assert two.engine_options == EngineOptions()
    assert one.model is not two.model
    first, second = Quantization(mode="static"), Quantization(mode="static")
    first.tally.add("int8 Conv")
    first.sensitivity["conv"] = 0.5
    assert second.tally.total == 0 and second.sensitivity == {}


def test_a_draft_begins_as_eager_float_and_contiguous() -> None:
    draft = make(build)
    assert (draft.engine, draft.precision, draft.quantization, draft.layout) == ("eager", None, None, "contiguous")
    assert EngineOptions() == EngineOptions(threads=0, streams=1, buckets=0, pin=False, hints={})


def test_intents_keep_the_tally_they_were_given() -> None:
    tally = Tally()
    Precision(dtype="bfloat16", tally=tally).tally.add("casts")
    assert tally.total == 1


def test_the_contract_is_imported_without_torch() -> None:
    modules = "draft engine instruction moment recipe signature workload examples settings planned quality pages"
    code = f"import sys; [__import__('strop.contract.' + m) for m in {modules.split()!r}]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_draft_is_where_its_workload_says_and_a_training_finds_its_place_by_itself() -> None:
    assert make(nn.Identity()).device == "cpu"
    draft = make(nn.Identity())
    draft.workload = replace(WORKLOAD, device="cuda:1")
    assert draft.device == "cuda:1"
    assert training_draft().device == "cpu"
