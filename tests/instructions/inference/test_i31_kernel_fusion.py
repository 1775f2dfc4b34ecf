from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.errors import PrepareError
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i31_kernel_fusion import ALL, FOLD, TRAIN, KernelFusion
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.loop.loop import TrainingLoop
from strop.measure.host import Host
from strop.pipeline import Outcome, legal, prepare, train
from strop.surgery.flow import answers, departure
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import TinyAttention, attention_draft, conv_draft, draft_for, mlp_draft, training_draft

HOST = Host(cpu="test", cores=2, isa=frozenset({"avx512_bf16"}))


def only_norms() -> Draft:
    return draft_for(nn.Sequential(nn.LayerNorm(8)), [torch.randn(2, 8)])


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=KernelFusion(threshold=1),
        draft=conv_draft,
        foreign=only_norms,
        idle=(KernelFusion(threshold=10**9, rules=("linear+activation",)), conv_draft),
    )


class TestFoldLaws(InstructionLaws):
    case = LawCase(
        instruction=KernelFusion(rules=FOLD),
        draft=conv_draft,
        foreign=mlp_draft,
        idle=(KernelFusion(rules=FOLD), lambda: draft_for(NormFirst(), [torch.randn(2, 3, 8, 8)])),
        companions=(ModelServingFramework(engine="openvino"),),
    )


class NormFirst(nn.Module):
    """The norm comes before the convolution, so nothing can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x))


def stale_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """One that has no fused kernel."""
    return torch.optim.RMSprop(model.parameters())


class TestTrainLaws(InstructionLaws):
    case = LawCase(
        instruction=KernelFusion(rules=TRAIN),
        draft=training_draft,
        foreign=mlp_draft,
        idle=(KernelFusion(rules=TRAIN), lambda: training_draft(optimizer=stale_optimizer)),
    )


def with_dropout() -> Draft:
    return training_draft(model=lambda: DropFirst())


class DropFirst(TinyAttention):
    """Drops what it attends to."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.embed = nn.Sequential(self.embed, nn.Dropout(0.2))  # type: ignore[assignment]


def test_in_training_the_update_is_fused_the_dropout_shares_bits_and_both_are_taken_off_again() -> None:
    draft, seen = with_dropout(), []

    def look(loop: TrainingLoop) -> None:
        seen.append((loop.optimizer.param_groups[0]["fused"], [type(m).__name__ for m in loop.model.modules()]))
        loop.run()

    done = train(draft, Recipe([KernelFusion(rules=("optimizer", "dropout"))]), HOST, run=look)
    assert done.outcome is Outcome.PREPARED, done.reason
    count = len(list(draft.model.parameters()))
    assert done.tallies["kernel_fusion"] == {
        "parameters updated in one kernel": count,
        "dropout layers that share random bits": 1,
    }
    assert seen[0][0] is True and "SharedBitsDropout" in seen[0][1]
    assert [type(m) for m in draft.model.modules() if isinstance(m, nn.Dropout)] == [nn.Dropout]


class Attends(TinyAttention):
    """Drops a part of what it attends to."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.embed = nn.Sequential(self.embed, AttendsToItself())  # type: ignore[assignment]


class AttendsToItself(nn.Module):
    """Attention of one head, a fifth of its weights dropped while training."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, width) to the same."""
        x = x[:, None]
        return nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.2 if self.training else 0.0)[:, 0]


def test_in_training_attention_with_dropout_shares_bits_until_the_end() -> None:
    draft, seen = training_draft(model=lambda: Attends()), []

    def look(loop: TrainingLoop) -> None:
        seen.append([name for name, m in loop.model.named_modules() if "forward" in vars(m)])
        loop.run()

    done = train(draft, Recipe([KernelFusion(rules=("attention",))]), HOST, run=look)
    assert done.outcome is Outcome.PREPARED, done.reason
    assert done.tallies["kernel_fusion"] == {"modules that attend by narrow products": 1}
    assert seen == [["embed.1"]] and not any("forward" in vars(m) for m in draft.model.modules())


def test_training_by_the_fused_update_ends_with_the_same_weights_up_to_rounding() -> None:
    # by SGD, since Adam turns the rounding of gradients that are zero, as of the keys' bias, into steps of full size
    plain, changed = (training_draft(optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9)) for _ in "12")
    train(plain, Recipe(), HOST)
    train(changed, Recipe([KernelFusion(rules=("optimizer",))]), HOST)
    for one, two in zip(plain.model.parameters(), changed.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


class Sparse(TinyAttention):
    """Its embedding has sparse gradients."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.embed = nn.Embedding(50, 32, sparse=True)


def test_an_optimizer_of_sparse_gradients_stays_as_it_is() -> None:
    draft = training_draft(model=Sparse, optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.05))
    done = train(draft, Recipe([KernelFusion(rules=("optimizer",))]), HOST)
    assert done.outcome is Outcome.NO_EFFECT, done.reason


def test_rules_for_training_and_for_inference_each_belong_to_their_workload() -> None:
    training, inference = frozenset({Trait.TRAINING}), frozenset({Trait.INFERENCE})
    for rules, wanted in ((TRAIN, training), (ALL, inference), (FOLD, inference)):
        legal_at = [start for start in (training, inference) if legal(Recipe([KernelFusion(rules=rules)]), start) is None]
        assert legal_at == [wanted]
    with pytest.raises(ValueError, match="were mixed"):
        KernelFusion(rules=("optimizer", "matmul+bias"))


def run(instruction: KernelFusion, draft: Draft) -> dict[str, int]:
    tally = Tally()
    instruction.at_freeze(draft, tally)
    return tally.to_json()


def test_each_rule_counts_what_it_matched() -> None:
    draft = conv_draft()
    before = answers(draft.model, draft.examples)
    counts = run(KernelFusion(threshold=1), draft)
    assert counts == {"conv2d+bn": 3, "conv2d+activation": 2, "conv2d+bias": 1, "linear+activation": 0, "matmul+bias": 1}
    assert departure(before, answers(draft.model, draft.examples)) < 1e-5
    assert not any(isinstance(m, nn.BatchNorm2d | nn.Conv2d | nn.ReLU6) for m in draft.model.modules())


def test_a_transformer_block_is_fused_and_keeps_its_answers_at_every_length() -> None:
    draft = attention_draft()
    before = answers(draft.model, draft.examples)
    counts = run(KernelFusion(threshold=1), draft)
    assert counts["linear+activation"] == 1 and counts["matmul+bias"] == 4
    assert departure(before, answers(draft.model, draft.examples)) < 1e-5


def test_threshold_is_the_smallest_answer_in_elements() -> None:
    # the layers answer 4 × 64 and 4 × 4 elements
    assert run(KernelFusion(rules=("linear+activation",), threshold=257), mlp_draft()) == {"linear+activation": 0}
    assert run(KernelFusion(rules=("linear+activation",), threshold=256), mlp_draft()) == {"linear+activation": 1}


def test_all_rules_but_folding_exclude_engines_and_16_bits() -> None:
    start = mlp_draft().workload.traits
    engine, amp = ModelServingFramework(), AmpOptimizer()
    assert "excludes" in str(legal(Recipe([KernelFusion(), engine]), start))
    assert "excludes" in str(legal(Recipe([KernelFusion(), amp]), start))
    assert legal(Recipe([KernelFusion(rules=FOLD), engine, amp]), start) is None
    assert legal(Recipe([KernelFusion()]), start) is None


class Hidden(nn.Module):
    """Uses a convolution's answer where no torch function can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + torch.as_tensor(y.numpy().mean())


def test_a_use_that_cannot_be_seen_fails_the_preparation(tmp_path: Path) -> None:
    draft = draft_for(Hidden(), [torch.randn(1, 3, 8, 8)])
    with pytest.raises(PrepareError, match="changed the answers by"):
        run(KernelFusion(rules=FOLD), draft)
    ended = prepare(draft_for(Hidden(), [torch.randn(1, 3, 8, 8)]), Recipe([KernelFusion(rules=FOLD)]), HOST, tmp_path / "a")
    assert ended.outcome is Outcome.FAILED and "kernel_fusion" in ended.reason


@pytest.mark.parametrize("settings", [{"rules": ()}, {"threshold": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one rule"):
        KernelFusion(**settings)  # type: ignore[arg-type]


def test_declines_where_torch_lacks_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.surgery.fused.available", lambda: False)
    assert "oneDNN" in str(KernelFusion(rules=ALL).decline(conv_draft(), HOST))
    assert KernelFusion(rules=FOLD).decline(conv_draft(), HOST) is None


def test_on_an_accelerator_only_folding_is_left() -> None:
    draft = conv_draft()
    draft.workload = replace(draft.workload, device="cuda")
    assert "runs on the processor, and this workload is on cuda" in str(KernelFusion().decline(draft, HOST))
    assert KernelFusion(rules=FOLD).decline(draft, HOST) is None
    assert "cannot be used with an accelerator" in str(legal(Recipe([KernelFusion()]), draft.workload.traits))
    assert legal(Recipe([KernelFusion(rules=FOLD)]), draft.workload.traits) is None
