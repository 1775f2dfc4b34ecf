"""Instruction 23: recompute blocks instead of keeping their activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.errors import PrepareError, did_you_mean
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class GradientCheckpointing(Instruction):
    """Recompute chosen blocks during backward instead of keeping their activations.

    What it does:
        Finds blocks that the model repeats (the layers of a transformer), measures on the first micro-batch how many bytes
        each keeps for backward and how long its forward takes, and lets those that free most bytes per second forget their
        activations, until ``share`` of the bytes kept in blocks is freed. Backward runs their forward again, with the same
        random numbers. A model in eval mode, and the trained model, are as before.

    Why it helps:
        Activations are most of the memory of training. Of a recomputed block only the input stays, so a batch several times
        as large fits; recomputing everything costs about a third more arithmetic.

    When it does not:
        Memory is no limit: every recomputed block only costs time. Blocks whose forward changes something (batch norms,
        counters of experts) are left alone. With packing of saved tensors savings do not add up: of a recomputed block
        only the input is left to pack.

    Settings:
        share: how much of the bytes that blocks keep is to be freed, above 0 to 1 (share).
        blocks: names of blocks to recompute, without measuring; empty: choose (names).

    References:
        Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
    """

    card = Card(aims=frozenset({Aim.MEMORY}), fidelity=Fidelity.EXACT, enabler=True, prior=0.8, aliases=("checkpointing",))

    share: Annotated[float, Choices(1.0, 0.5)] = 1.0
    blocks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")

    def ties(self) -> Ties:
        """Need a training workload."""
        return ties(needs=(Trait.TRAINING,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline where nothing is repeated that may run twice."""
        from strop.surgery.recompute import repeated

        if not self.blocks and not repeated(draft.model):
            return "the model repeats no block that may run twice (a list or sequence of equal modules without batch norms)"
        return None

    def at_recompute(self, draft: Draft, tally: Tally) -> None:
        """Choose and wrap; count the blocks and the bytes no longer kept."""
        from strop.loop.rehearse import first_batch
        from strop.surgery.recompute import recompute, repeated

        model, plan = draft.model, draft.training
        assert plan is not None
        measurable = len(plan.data) > 0  # a loop of the caller's own has nothing to rehearse with
        if not measurable and not self.blocks and self.share < 1:
            raise PrepareError(
                f"gradient_checkpointing: share={self.share} chooses blocks by measuring, and a loop of your own gives no sample "
                f"to measure on; use share=1, or name the blocks."
            )
        batch = first_batch(plan) if measurable else None
        before = _kept(draft, batch, []) if measurable else 0
        chosen = list(self.blocks) or (self._chosen(draft, batch) if measurable else repeated(model))
        _check_names(chosen, [name for name, _ in model.named_modules() if name])
        for name in chosen:
            recompute(model.get_submodule(name))
        tally.add("blocks recomputed", len(chosen))
        tally.add("bytes no longer kept", max(0, before - _kept(draft, batch, chosen)) if measurable and chosen else 0)

    def _chosen(self, draft: Draft, batch: object) -> list[str]:
        from strop.loop.rehearse import rehearse
        from strop.surgery.recompute import choose, costs, repeated

        model, plan = draft.model, draft.training
        assert plan is not None
        return choose(costs(model, repeated(model), lambda: rehearse(model, plan, batch)), self.share)

    def at_finish(self, draft: Draft, tally: Tally) -> None:
        """Give the blocks their own forward back."""
        from strop.surgery.recompute import keep_all

        keep_all(draft.model)


def _check_names(names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise PrepareError(f"gradient_checkpointing: the model has no module {name!r}.{did_you_mean(name, known)}")


def _kept(draft: Draft, batch: object, chosen: list[str]) -> int:
    """Return the bytes kept between forward and backward of a micro-batch, the inputs of recomputed blocks included."""
    from torch import Tensor, nn
    from torch.utils._pytree import tree_leaves

    from strop.loop.rehearse import rehearse
    from strop.surgery.saved import SavedBytes

    assert draft.training is not None
    model = draft.model
    with SavedBytes([*model.parameters(), *model.buffers(), *(t for t in tree_leaves(batch) if isinstance(t, Tensor))]) as kept:

        def enter(module: nn.Module, args: object, kwargs: object) -> None:
            for leaf in tree_leaves((args, kwargs)):
                kept.add(leaf)

        handles = [model.get_submodule(name).register_forward_pre_hook(enter, with_kwargs=True) for name in chosen]
        try:
            rehearse(model, draft.training, batch)
        finally:
            for handle in handles:
                handle.remove()
        return kept.total
