"""Instruction 31: fold and fuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.device import processor_only
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.errors import PrepareError
from strop.measure.host import Host

Rule = Literal[
    "conv2d+bn",
    "conv2d+activation",
    "linear+activation",
    "conv2d+bias",
    "matmul+bias",
    "optimizer",
    "dropout",
    "attention",
    "embedding",
    "horizontal",
]
ALL: tuple[Rule, ...] = ("conv2d+bn", "conv2d+activation", "linear+activation", "conv2d+bias", "matmul+bias")
FOLD: tuple[Rule, ...] = ("conv2d+bn",)
TRAIN: tuple[Rule, ...] = ("optimizer", "dropout", "attention", "embedding", "horizontal")
TOLERANCE = 1e-3
"""Largest departure after surgery, relative to the largest answer; rounding stays two orders of magnitude below."""


@final
@dataclass(frozen=True, kw_only=True)
class KernelFusion(Instruction):
    """Fold batch norms into convolutions and compute product, bias and activation in one kernel.

    What it does:
        Watches the model answer some example inputs, finds layers whose answer goes to exactly one batch norm or
        activation, folds the norm into the weights, and replaces layer and activation by one oneDNN call on prepacked
        weights. ``conv2d+bn`` folds convolutions of one to three dimensions; a convolution that pads its input itself
        ("SAME" as in TensorFlow) is understood. ``conv2d+bias`` and ``matmul+bias`` pack the layers that have no
        activation behind them. The answers on those inputs are compared before and after; a departure beyond rounding
        fails the preparation.
        While training there are five rules of its own. ``optimizer`` updates a parameter in one kernel instead of a dozen
        (torch's fused Adam, AdamW or SGD, same settings). ``dropout`` draws the masks of torch's dropout layers on
        a processor sixteen bits an element, so that one random number serves four; the masks are others, as with another
        seed, and as probable. ``attention`` draws those of attention alike, and keeps its products as narrow and its softmax
        as wide as autocast leaves them, where torch's path for dropout widens both. ``embedding`` gathers the rows of the
        largest embedding that the samples use, at most half of them, in a table of their own, and trains only that; the
        others would get no gradient, and keep their values where weight decay would shrink them. ``horizontal`` computes linear
        layers that read the same tensor, as queries, keys and values do, as one product; the layers keep their parameters.

    Why it helps:
        Intermediate answers are not written to memory and read back, fewer kernels are launched, and oneDNN's blocked
        products on packed weights are often faster than the product eager PyTorch chooses. An optimizer's update reads and
        writes each weight and moment once, masks are drawn by one thread while the others wait, and most of a vocabulary
        never occurs in a small training set, though its gradients, moments and update are computed in every step.

    When it does not:
        Engines and compilers fuse by themselves, so every rule but ``conv2d+bn`` excludes them; accelerators have no oneDNN, and
        that rule alone. Models that spend their
        time in attention or normalisation. Activations called as functions, not as modules, stay. Packed weights are
        kept beside the plain ones and take their size in memory again. Dropout called as a function stays, and so does attention
        without dropout, off the processor or inside torch's own ``MultiheadAttention``; optimizers of other classes stay, and
        so does any where gradients are sparse.

    Settings:
        rules: which patterns to look for; only conv2d+bn may be combined with an engine, and those for training stand by
            themselves (names).
        threshold: smallest answer of a layer worth fusing (elements).

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR
        2018, section 3.2 (folding).
        oneDNN Developer Guide, chapter on post-ops.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT}),
        fidelity=Fidelity.LOSSY,
        enabler=True,
        prior=1.4,
        aliases=("cuda_kernel_fusion", "fusion"),
    )

    rules: Annotated[tuple[Rule, ...], Choices(ALL, FOLD, TRAIN)] = ALL
    threshold: int = 1024

    def __post_init__(self) -> None:
        if not self.rules or self.threshold < 0:
            raise ValueError(f"at least one rule and a threshold of 0 or more are needed, got {self.rules}, {self.threshold}")
        if len({rule in TRAIN for rule in self.rules}) > 1:
            raise ValueError(f"rules for training ({', '.join(TRAIN)}) and for inference were mixed: {', '.join(self.rules)}")

    @property
    def fidelity(self) -> Fidelity:
        """Rounding, but for the rules that lead a training along another path."""
        return Fidelity.LOSSY if {"dropout", "attention", "embedding"} & set(self.rules) else Fidelity.ROUNDING

    @property
    def _training(self) -> bool:
        return set(self.rules) <= set(TRAIN)

    def ties(self) -> Ties:
        """Need a training workload or refuse it, by the rules; kernels fused for inference are a processor's, in float32."""
        if self._training:
            return ties(needs=(Trait.TRAINING,))
        if set(self.rules) == set(FOLD):
            return ties(excludes=(Trait.TRAINING,))
        return ties(excludes=(Trait.TRAINING, Trait.ENGINE, Trait.REDUCED_PRECISION, Trait.ACCELERATOR))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline when no layer could match, and oneDNN's kernels where the model or this build of torch is without them."""
        if self._training:
            return None if draft.training is not None else f"nothing is trained, and {', '.join(self.rules)} act in training"
        from torch import nn
        from torch.nn.modules.batchnorm import _BatchNorm

        from strop.surgery import fused
        from strop.surgery.modules import has

        if set(self.rules) != set(FOLD):
            if elsewhere := processor_only(f"oneDNN, for every rule but {FOLD[0]},", draft.device):
                return elsewhere
            if not fused.available():
                return "this build of torch has no oneDNN pointwise operators"
        wanted: list[type[nn.Module]] = []
        if any(rule.startswith("conv2d") for rule in self.rules):
            wanted += [nn.Conv1d, nn.Conv2d, nn.Conv3d] if "conv2d+bn" in self.rules else [nn.Conv2d]
        if {"linear+activation", "matmul+bias"} & set(self.rules):
            wanted.append(nn.Linear)
        if not has(draft.model, *wanted):
            kinds = " or ".join(kind.__name__ for kind in wanted)
            return f"the model has no {kinds} layer that {', '.join(self.rules)} could match"
        if set(self.rules) == set(FOLD) and not has(draft.model, _BatchNorm):
            return "the model has no batch norm to fold"
        return None

    def at_adapt(self, draft: Draft, tally: Tally) -> None:
        """Split the largest embedding by what the samples use; count the rows left out."""
        if "embedding" in self.rules:
            from strop.loop.rehearse import put_back
            from strop.surgery import rows

            assert draft.training is not None
            with put_back(draft.model):
                left_out = rows.split(draft.model, draft.training)
            tally.add("embedding rows that no sample uses", left_out)

    def at_optimize(self, draft: Draft, tally: Tally) -> None:
        """Fuse the update of the optimizer, join layers; on a processor, let dropout and attention share bits. Count per rule."""
        from strop.loop.ranks import device
        from strop.loop.rehearse import first_batch, rehearse
        from strop.surgery.attention import share_attention
        from strop.surgery.dropout import share_bits
        from strop.surgery.optimizers import fused, sparse_gradients
        from strop.surgery.siblings import join

        plan = draft.training
        assert plan is not None
        watchable = len(plan.data) > 0  # a loop of the caller's own has no batch to watch

        def once() -> None:
            rehearse(draft.model, plan, first_batch(plan))

        if "optimizer" in self.rules and not sparse_gradients(draft.model):
            plain = plan.optimizer
            changed = fused(plain(draft.model))
            if changed is not None:
                tally.add("parameters updated in one kernel", sum(len(group["params"]) for group in changed.param_groups))
                plan.optimizer = lambda model: fused(plain(model)) or plain(model)
        processor = device() == "cpu"
        if "dropout" in self.rules and processor:
            tally.add("dropout layers that share random bits", share_bits(draft.model))
        if "attention" in self.rules and processor and watchable:
            tally.add("modules that attend by narrow products", share_attention(draft.model, once))
        if "horizontal" in self.rules and watchable:
            tally.add("layers that share a product", join(draft.model, once))

    def at_finish(self, draft: Draft, tally: Tally) -> None:
        """Make dropout layers, attention, linear layers and the embedding torch's again."""
        if self._training:
            from strop.surgery import attention, dropout, rows, siblings

            attention.undo(draft.model)
            dropout.undo(draft.model)
            rows.undo(draft.model)
            siblings.undo(draft.model)

    def at_freeze(self, draft: Draft, tally: Tally) -> None:
        """Fold, fuse, compare; count per rule."""
        from torch import nn

        from strop.surgery import flow, fold, fuse

        examples = flow.few(draft.examples)
        before = flow.answers(draft.model, examples)
        if "conv2d+bn" in self.rules:
            pairs = fold.foldable(draft.model, flow.watch(draft.model, examples))
            tally.add("conv2d+bn", fold.fold(draft.model, pairs))
        kinds: tuple[tuple[Rule, type[nn.Module]], ...] = (("conv2d+activation", nn.Conv2d), ("linear+activation", nn.Linear))
        for rule, kind in kinds:
            if rule in self.rules:
                seen = flow.watch(draft.model, examples)
                plan = fuse.plan_activations(draft.model, seen, kind, self.threshold)
                tally.add(rule, fuse.fuse_activations(draft.model, seen, plan))
        kinds = (("conv2d+bias", nn.Conv2d), ("matmul+bias", nn.Linear))
        for rule, kind in kinds:
            if rule in self.rules:
                tally.add(rule, fuse.pack(draft.model, flow.watch(draft.model, examples), kind, self.threshold))
        departure = flow.departure(before, flow.answers(draft.model, examples))
        if not departure <= TOLERANCE:
            raise PrepareError(
                f"kernel_fusion changed the answers by {departure:.2g} of the largest, more than {TOLERANCE:g}: the model uses "
                f"a layer in a way that cannot be seen. Leave the instruction out, or name fewer rules than {list(self.rules)}."
            )
