from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.signature import TensorSpec
from strop.engines.buckets import BucketPlan, Padder, choose_edges, edge_over, plan_buckets


def spec(name: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


def cost(sizes: list[int], edges: tuple[int, ...]) -> int:
    return sum(min(edge for edge in edges if edge >= size) for size in sizes)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 4))
def test_edges_cost_as_little_as_the_best_of_all_choices(sizes: list[int], count: int) -> None:
    edges = choose_edges(sizes, count)
    seen = sorted(set(sizes))
    every = [(*some, seen[-1]) for n in range(min(count, len(seen))) for some in itertools.combinations(seen[:-1], n)]
    assert len(edges) <= count and list(edges) == sorted(edges) and edges[-1] == max(sizes)
    assert cost(sizes, edges) == min(cost(sizes, choice) for choice in every)


def two_inputs(lengths: list[tuple[int, int]]) -> BucketPlan:
    shapes = [[(b, n), (b, n)] for b, n in lengths]
    return plan_buckets([spec("ids", None, None), spec("mask", None, None)], [spec("y", None, 2)], shapes, [[(1, 2)]])


def test_lengths_that_move_together_are_one_axis_and_the_batch_is_none() -> None:
    plan = two_inputs([(1, 5), (1, 9), (32, 9), (1, 30)])
    assert plan.reason == ""
    assert [axis.inputs for axis in plan.axes] == [((0, 1), (1, 1))]
    assert plan.axes[0].edges[1][0] == (30,) and plan.axes[0].edges[1][2] == (5, 9, 30)
    assert plan.axes[0].edges[32] == ((9,),) * 4, "a batch is padded to what batches of its size need"
    assert plan.batches == (1, 32)


def test_a_plan_survives_json() -> None:
    plan = two_inputs([(1, 5), (2, 9)])
    assert BucketPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_without_varying_lengths_there_is_nothing_to_bucket_and_it_says_so() -> None:
    plan = plan_buckets([spec("x", None, 3)], [spec("y", None, 2)], [[(1, 3)], [(4, 3)]], [[(1, 2)], [(4, 2)]])
    assert "no dimension but the batch" in plan.reason


def test_an_answer_whose_length_follows_no_input_makes_buckets_unusable() -> None:
    shapes = [[(1, 4)], [(1, 6)]]
    plan = plan_buckets([spec("x", 1, None)], [spec("half", 1, None)], shapes, [[(1, 2)], [(1, 3)]])
    assert "dimension 1 of output half" in plan.reason


def test_padding_goes_to_the_nearest_edge_and_answers_are_cut_back() -> None:
    plan = plan_buckets(
        [spec("ids", None, None)],
        [spec("tokens", None, None, 7)],
        [[(1, 5)], [(1, 9)], [(2, 30)]],
        [[(1, 5, 7)], [(1, 9, 7)], [(2, 30, 7)]],
    )
    padder = Padder(plan, 3)
    assert padder.fit([(1, 1)]) == ((1, 5),)
    assert padder.fit([(2, 5)]) == ((2, 30),)
    assert padder.fit([(1, 6)]) == ((1, 9),)
    assert padder.cuts([(1, 6)], 1) == [(slice(None), slice(6))]


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ([(1, 31), (1, 31)], "longer than every edge"),
        ([(3, 5), (3, 5)], "a batch never seen"),
        ([(1, 5), (1, 6)], "lengths apart"),
    ],
)
def test_calls_that_fit_no_bucket_run_at_their_own_shape(shapes: list[tuple[int, int]], why: str) -> None:
    assert Padder(two_inputs([(1, 5), (1, 9), (32, 9), (1, 30)]), 4).fit(shapes) is None, why


def test_a_size_is_padded_to_the_smallest_edge_it_does_not_pass() -> None:
    assert [edge_over((8, 16), size) for size in (0, 8, 9, 16, 17)] == [8, 8, 16, 16, None]
    assert edge_over((), 1) is None
