"""Compute only the positions of a sequence that somebody reads.

A classifier that reads the first token of an encoder needs, of its last block, the keys and values of all tokens but the query,
the output and the feed-forward layers of one. In an exported graph the selection moves up through every operator that treats
the positions apart, as long as nobody else reads the others. Each answer stays the same function of the same inputs, so this
is no approximation; only the order of additions may differ where another kernel is chosen for the smaller product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import GraphModule, Node

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_END = 2**63 - 1
"""What an exported slice that goes to the end says."""
_aten: Any = torch.ops.aten


@dataclass(frozen=True, slots=True)
class _Cut:
    """Positions ``start`` to ``stop`` of a dimension, as ``aten.slice`` takes them; their number is known: ``length``."""

    dim: int
    start: int
    stop: int
    length: int

    @property
    def last(self) -> bool:
        """It is the last position, wherever that lies."""
        return self.start == -1

    def along(self, dim: int) -> _Cut:
        """Return the same positions of another dimension."""
        return _Cut(dim, self.start, self.stop, self.length)


Rule = Callable[[Node, _Cut], dict[int, _Cut] | None]
"""Says which arguments of an operator must be cut, and how, so that its answer is cut; ``None``: it mixes the positions."""


def cut_unread(program: ExportedProgram) -> int:
    """Let operators compute the positions only that are read; return how many compute fewer.

    Args:
        program: changed in place. A graph that changes tensors in place stays as it is.
    """
    count = 0
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule) and not any(_mutates(node) for node in module.graph.nodes):
            count += _cut_graph(module)
    return count


def _cut_graph(module: GraphModule) -> int:
    done: set[Node] = set()
    while True:
        before = len(done)
        for node in reversed(list(module.graph.nodes)):
            cut = _shared_cut(node)
            if cut is not None and (takes := _takes(node, cut)):
                _move(module, node, cut, takes)
                done.add(node)
        if len(done) == before:  # else what one selection left behind may be what another waited for
            break
    module.graph.lint()
    module.recompile()
    return sum(node.target not in _VIEWS for node in done)


def _shared_cut(node: Node) -> _Cut | None:
    """Return the cut that all readers of a tensor make, if it leaves something out."""
    cuts = {_cut(user, node) for user in node.users}
    cut = cuts.pop() if len(cuts) == 1 else None
    if cut is None or _shape(node)[cut.dim] == cut.length:
        return None
    return cut


def _cut(node: Node, of: Node) -> _Cut | None:
    """Return what a selection takes of a tensor; ``None``: it is none, or an answer of the model by that name."""
    if _args(node)[:1] != (of,) or not isinstance(of.meta.get("val"), torch.Tensor):
        return None
    rank = len(_shape(of))
    if node.target is _aten.select.int:
        dim, index = _args(node)[1:3]
        return _Cut(dim % rank, index, _END if index == -1 else index + 1, 1) if isinstance(index, int) else None
    if node.target is _aten.slice.Tensor and not any(user.op == "output" for user in node.users):
        _, dim, start, stop, step = _padded(node, (of, 0, 0, _END, 1))
        length = _shape(node)[dim % rank]
        if step == 1 and isinstance(start, int) and isinstance(stop, int) and isinstance(length, int):
            return _Cut(dim % rank, start, stop, length)
    return None


def _move(module: GraphModule, node: Node, cut: _Cut, takes: dict[int, _Cut]) -> None:
    """Cut the arguments in place of the answer."""
    for index, its in takes.items():
        node.update_arg(index, _sliced(module, _args(node)[index], its))
    if node.target in _RESHAPES:
        shape = list(_args(node)[1])
        shape[cut.dim] = cut.length
        node.target = _aten.reshape.default  # what was cut need not lie in one piece
        node.update_arg(1, shape)
    if node.target is _aten.scaled_dot_product_attention.default and len(_args(node)) > _CAUSAL:
        node.update_arg(_CAUSAL, False)  # the last query sees every key
    node.meta["val"] = _part(node, cut)
    for user in list(node.users):
        if user.target is _aten.select.int:
            user.update_arg(2, 0)
        else:
            user.replace_all_uses_with(node)
            module.graph.erase_node(user)


def _sliced(module: GraphModule, source: Node, cut: _Cut) -> Node:
    """Return the cut tensor, made right behind the whole one, where everybody who reads that can read this."""
    behind = source
    while behind.op == "placeholder" and behind.next.op == "placeholder":
        behind = behind.next
    for user in source.users:
        if user.target is _aten.slice.Tensor and _cut(user, source) == cut:
            behind.append(user)
            return user
    with module.graph.inserting_after(behind):
        made = module.graph.call_function(_aten.slice.Tensor, (source, cut.dim, cut.start, cut.stop))
    made.meta = {**source.meta, "val": _part(source, cut)}
    return made


def _part(node: Node, cut: _Cut) -> torch.Tensor:
    value: torch.Tensor = node.meta["val"]
    with value.fake_mode:  # type: ignore[attr-defined]
        part: torch.Tensor = _aten.slice.Tensor(value, cut.dim, cut.start, cut.stop)
    return part


def _takes(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    if node.op != "call_function" or any(isinstance(value, Node) for value in node.kwargs.values()):
        return None
    rule, tags = _RULES.get(node.target), getattr(node.target, "tags", ())
    if rule is None and torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags:
        rule = _elementwise
    return rule(node, cut) if rule is not None else None


def _elementwise(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    shape, takes = _shape(node), {}
    for index, argument in enumerate(_args(node)):
        if not isinstance(argument, Node) or not isinstance(argument.meta.get("val"), torch.Tensor):
            continue
        its = cut.dim - len(shape) + len(_shape(argument))
        if its < 0 or _same(_shape(argument)[its], 1):
            continue  # it is the same for every position
        if not _same(_shape(argument)[its], shape[cut.dim]):
            return None
        takes[index] = cut.along(its)
    return takes


def _first(node: Node, cut: _Cut) -> dict[int, _Cut]:
    return {0: cut}


def _dropout(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    return {0: cut} if _args(node)[2] is False else None


def _before_last(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    return {0: cut} if cut.dim < len(_shape(node)) - 1 else None


def _before_normalized(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    return {0: cut} if cut.dim < len(_shape(node)) - len(_args(node)[1]) else None


def _other_dimension(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    _, own = _padded(node, (None, 0))
    return {0: cut} if own % len(_shape(node)) != cut.dim else None


def _transposed(node: Node, cut: _Cut) -> dict[int, _Cut]:
    rank = len(_shape(node))
    order = list(range(rank))
    if node.target is _aten.permute.default:
        order = [dim % rank for dim in _args(node)[1]]
    else:
        first, second = (dim % rank for dim in _args(node)[1:3])
        order[first], order[second] = order[second], order[first]
    return {0: cut.along(order[cut.dim])}


def _reshaped(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    """Pass if the dimension and all before it stay as they are."""
    source, shape = _shape(_args(node)[0]), _shape(node)
    stays = len(source) > cut.dim and all(_same(source[dim], shape[dim]) for dim in range(cut.dim + 1))
    return {0: cut} if stays else None


def _rows(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    """Pass if rows of the left matrix are cut."""
    rank = len(_shape(node))
    matrices = len(_shape(_args(node)[0])) == rank and len(_shape(_args(node)[1])) > 1
    return {0: cut} if matrices and cut.dim == rank - 2 else None


def _queries(node: Node, cut: _Cut) -> dict[int, _Cut] | None:
    """Pass if queries are cut; a causal mask only where the last one is taken, which sees every key."""
    query, key, _, mask, probability, causal = _padded(node, (None, None, None, None, 0.0, False))
    shape = _shape(node)
    if cut.dim != len(shape) - 2 or probability or not node.kwargs.keys() <= {"scale", "enable_gqa"}:
        return None
    if causal and not (cut.last and _same(_shape(query)[-2], _shape(key)[-2])):
        return None
    takes = {0: cut}
    if mask is not None:
        rows = len(_shape(mask)) - 2
        if not _same(_shape(mask)[rows], 1):
            takes[3] = cut.along(rows)
    return takes


_CAUSAL = 5
_RESHAPES = (_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default)
_VIEWS = (*_RESHAPES, _aten.slice.Tensor, _aten.transpose.int, _aten.permute.default, _aten.alias.default, _aten.detach.default)
"""They compute nothing."""
_RULES: dict[Any, Rule] = {
    _aten.linear.default: _before_last,
    _aten.layer_norm.default: _before_normalized,
    _aten.rms_norm.default: _before_normalized,
    _aten.softmax.int: _other_dimension,
    _aten._softmax.default: _other_dimension,
    _aten.slice.Tensor: _other_dimension,
    _aten.transpose.int: _transposed,
    _aten.permute.default: _transposed,
    _aten.matmul.default: _rows,
    _aten.bmm.default: _rows,
    _aten.scaled_dot_product_attention.default: _queries,
    _aten.dropout.default: _dropout,
    **dict.fromkeys((_aten.contiguous.default, _aten.clone.default, _aten.alias.default, _aten.detach.default), _first),
    **dict.fromkeys((_aten.to.dtype, _aten.to.dtype_layout, _aten._to_copy.default), _first),
    **dict.fromkeys(_RESHAPES, _reshaped),
}


def _mutates(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _args(node: Node) -> tuple[Any, ...]:
    return node.args


def _padded(node: Node, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the positional arguments, those left out by their defaults."""
    given = _args(node)[: len(defaults)]
    return (*given, *defaults[len(given) :])


def _shape(node: Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def _same(first: Any, second: Any) -> bool:
    """Tell whether two sizes are the same for every input, without asking that free ones be."""
    if isinstance(first, int) or isinstance(second, int):
        return isinstance(first, int) and isinstance(second, int) and first == second
    return bool(first.node.expr == second.node.expr)
