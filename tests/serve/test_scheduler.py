"""The scheduler's promises, driven by a machine that does anything in any order, and its rules one at a time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from strop.serve.latency import LatencyModel, Seed
from strop.serve.policy import Policy
from strop.serve.request import Bucket, Outcome, Request
from strop.serve.scheduler import Batch, Scheduler

BUCKET, WIDE, OTHER = Bucket("a", 1), Bucket("a", 4), Bucket("b", 1)
SECONDS = 10e-3


def scheduler(**changes: Any) -> Scheduler:
    policy = Policy(**{"objective": 0.1, "max_rows": 8, **changes})
    seeds = [Seed(width=1, rows=rows, seconds=SECONDS + 1e-3 * rows) for rows in (1, 8)]
    return Scheduler(policy, LatencyModel(seeds, policy.max_rows))


def request(number: int, arrived: float = 0.0, **changes: Any) -> Request:
    fields = {"number": number, "arrived": arrived, "deadline": arrived + 0.1, "bucket": BUCKET, **changes}
    return Request(**fields)


def started(kept: Scheduler, now: float) -> Batch:
    batch = kept.start(now).batch
    assert batch is not None
    return batch


def started_with(kept: Scheduler, away: int) -> Batch:
    """Start a batch before that many workers go away."""
    kept.away = 0
    batch = started(kept, 0.0)
    kept.away = away
    return batch


def numbers(requests: Any) -> list[int]:
    return [each.number for each in requests]


class Anything(RuleBasedStateMachine):
    """Does what clients, engines and the clock may do, and checks every promise after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.count = 0.0, 0
        self.kept = scheduler(executors=2)
        self.sent: dict[int, Request] = {}
        self.done: dict[int, Outcome] = {}
        self.losses: Counter[int] = Counter()

    def end(self, requests: Any, outcome: Outcome) -> None:
        for each in requests:
            assert each.number not in self.done, "answered twice"
            self.done[each.number] = outcome

    @rule(
        bucket=st.sampled_from((BUCKET, WIDE, OTHER)),
        rows=st.integers(1, 10),
        level=st.integers(1, 3),
        timeout=st.floats(0.0, 0.1),
    )
    def offer(self, bucket: Bucket, rows: int, level: int, timeout: float) -> None:
        came = request(self.count, self.now, bucket=bucket, rows=rows, level=level, deadline=self.now + timeout)
        self.sent[self.count] = came
        self.count += 1
        if self.kept.offer(self.now, came) is not None:
            self.end([came], Outcome.REFUSED)

    @rule(seconds=st.floats(0.0, 0.06))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def start(self) -> None:
        waiting = [r for r in self.sent.values() if r.number in self.kept.queue]
        halves = bool(self.kept._halves)
        decision = self.kept.start(self.now)
        self.end(decision.expired, Outcome.EXPIRED)
        assert all(self.losses[r.number] == 1 for r in decision.lost)
        self.end(decision.lost, Outcome.FAILED)
        if decision.batch is None:
            return
        chosen = decision.batch.requests
        assert all(r.deadline > self.now for r in chosen), "executed after its deadline"
        assert decision.batch.rows <= self.kept.policy.max_rows or len(chosen) == 1
        assert len({r.bucket for r in chosen}) == 1
        assert not any(r.number in self.done for r in chosen)
        if halves:
            return
        passed = [
            r for r in waiting if r.number in self.kept.queue and self.kept.queue.turn(r) < self.kept.queue.turn(chosen[-1])
        ]
        for other in passed:
            if other.bucket == chosen[0].bucket:
                assert self.kept._hopeless(self.now, other), "overtaken within its bucket"
            assert self.kept.queue.turn(other) > self.kept.queue.turn(chosen[0]), "the first in turn was passed over"

    @precondition(lambda self: self.kept.running)
    @rule(pick=st.integers(0, 1))
    def finish(self, pick: int) -> None:
        batch = self.kept.running[pick % len(self.kept.running)]
        self.end(self.kept.finish(self.now, batch), Outcome.OK)

    @precondition(lambda self: self.kept.running)
    @rule(pick=st.integers(0, 1), memory=st.booleans())
    def fail(self, pick: int, memory: bool) -> None:
        batch = self.kept.running[pick % len(self.kept.running)]
        self.end(self.kept.fail(self.now, batch, memory=memory), Outcome.FAILED)

    @precondition(lambda self: self.kept.running)
    @rule(pick=st.integers(0, 1))
    def lose_a_worker(self, pick: int) -> None:
        batch = self.kept.running[pick % len(self.kept.running)]
        self.kept.away = min(2, self.kept.away + 1)
        self.losses.update(numbers(batch.requests))
        failed = self.kept.fail(self.now, batch, lost=True)
        self.end(failed, Outcome.FAILED)
        again = [r for r in batch.requests if r.number not in self.done]
        assert all(self.losses[r.number] == 1 and self.now < r.deadline for r in again), "a second trial, and only in time"

    @rule()
    def get_a_worker_back(self) -> None:
        self.kept.away = max(0, self.kept.away - 1)

    @invariant()
    def deadlines_are_seen(self) -> None:
        waiting = [r.deadline for r in self.sent.values() if r.number not in self.done and not self.runs(r)]
        assert self.kept.next_deadline() == min(waiting, default=None)

    def runs(self, request: Request) -> bool:
        return any(request in batch.requests for batch in self.kept.running)

    @precondition(lambda self: self.kept.running)
    @rule()
    def abandon(self) -> None:
        self.end(self.kept.abandon(self.now, self.kept.running[0]), Outcome.FAILED)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.sent)))
        if self.kept.cancel(number):
            self.end([self.sent[number]], Outcome.CANCELLED)

    @invariant()
    def balanced(self) -> None:
        accounts = self.kept.accounts
        assert accounts.sent == len(self.sent)
        assert accounts.unaccounted == 0
        assert accounts.open == len(self.sent) - len(self.done)
        for outcome in Outcome:
            assert accounts.ended[outcome] == list(self.done.values()).count(outcome)

    def teardown(self) -> None:
        """Run until nothing is left: nobody waits for ever."""
        self.kept.away = 0
        for _ in range(3 * len(self.sent) + 3):
            self.start()
            if self.kept.running:
                self.finish(0)
            self.balanced()
        assert self.kept.accounts.open == 0


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnything = Anything.TestCase


def test_an_idle_executor_gets_what_there_is_and_the_batch_stays_open_until_then() -> None:
    kept = scheduler()
    kept.offer(0.0, request(0))
    first = started(kept, 0.0)
    for number in (1, 2, 3):
        kept.offer(0.001, request(number, 0.001))
    assert kept.start(0.001).batch is None, "no executor is idle"
    assert numbers(kept.finish(0.011, first)) == [0]
    assert numbers(started(kept, 0.011).requests) == [1, 2, 3]


def test_a_batch_is_no_larger_than_the_tightest_deadline_allows() -> None:
    kept = scheduler(early_drop=False)
    for number in range(6):
        kept.offer(0.0, request(number, deadline=0.1 if number else 0.0145))
    assert numbers(started(kept, 0.0).requests) == [0, 1], "12 ms and the margins fit into 14.5 ms, 13 ms do not"


def test_late_heads_are_given_up_where_they_would_shrink_every_batch() -> None:
    kept = scheduler(admission=False)
    for number in range(10):
        kept.offer(0.0, request(number, deadline=0.1 if number > 1 else 0.0155))
    decision = kept.start(0.0)
    assert numbers(decision.expired) == [0, 1]
    assert decision.batch is not None
    assert numbers(decision.batch.requests) == list(range(2, 10))


def test_what_cannot_be_answered_in_time_is_refused_at_once_with_a_time_to_come_back() -> None:
    kept = scheduler()
    refusals = [kept.offer(0.0, request(number)) for number in range(60)]
    taken = refusals.index(next(filter(None, refusals)))
    assert 30 <= taken < 50, "five batches of eight and a last one fit into the objective"
    assert all(refusals[taken:])
    late = refusals[-1]
    assert late is not None
    assert 0 < late.retry < 0.05
    assert kept.offer(0.0, request(99, level=1)) is None, "an urgent request waits for fewer"


def test_the_hopeless_are_never_executed() -> None:
    kept = scheduler()
    kept.offer(0.0, request(0))
    started(kept, 0.0)
    assert kept.offer(0.0, request(1, deadline=0.015)) is not None
    lenient = scheduler(admission=False)
    lenient.offer(0.0, request(0))
    running = started(lenient, 0.0)
    lenient.offer(0.0, request(1, deadline=0.015))
    lenient.finish(0.011, running)
    decision = lenient.start(0.011)
    assert (decision.batch, numbers(decision.expired)) == (None, [1])


@pytest.mark.parametrize("poison", range(8))
def test_only_the_poison_fails_and_is_found_by_halves(poison: int) -> None:
    kept = scheduler()
    for number in range(8):
        kept.offer(0.0, request(number))
    answered, failed, runs = [], [], 0
    while (batch := kept.start(0.0).batch) is not None:
        runs += 1
        if poison in numbers(batch.requests):
            failed += numbers(kept.fail(0.0, batch))
        else:
            answered += numbers(kept.finish(0.0, batch))
    assert failed == [poison]
    assert sorted(answered) == [n for n in range(8) if n != poison]
    assert runs == 7, "one whole, and two halves on each of three levels"


def test_halves_drop_who_has_left_or_is_too_late() -> None:
    kept = scheduler()
    for number in range(4):
        kept.offer(0.0, request(number, deadline=0.05 if number == 2 else 0.1))
    kept.fail(0.06, started(kept, 0.0))
    kept.cancel(0)
    decision = kept.start(0.06)
    assert numbers(decision.expired) == [2], "told at once, not when its half would run"
    assert decision.batch is not None
    assert numbers(decision.batch.requests) == [1]
    kept.abandon(0.06, kept.running[0])
    assert numbers(started(kept, 0.06).requests) == [3]


def test_a_lost_worker_s_batch_is_tried_once_more_by_halves_while_time_allows() -> None:
    kept = scheduler()
    for number in range(4):
        kept.offer(0.0, request(number, deadline=0.05 if number == 3 else 0.1))
    kept.away = 1
    late = kept.fail(0.06, started_with(kept, 1), lost=True)
    assert numbers(late) == [3]
    assert kept.start(0.06).batch is None, "no worker is there"
    assert kept.next_deadline() == 0.1
    kept.away = 0
    first = started(kept, 0.07)
    assert numbers(first.requests) == [0, 1]
    assert numbers(kept.fail(0.08, first, lost=True)) == [0, 1], "each trial may cost a worker"
    decision = kept.start(0.1)
    assert (numbers(decision.lost), decision.expired, decision.batch) == ([2], [], None)
    assert kept.accounts.ended[Outcome.FAILED] == 4


def test_running_out_of_memory_halves_the_next_batches() -> None:
    kept = scheduler()
    for number in range(8):
        kept.offer(0.0, request(number))
    kept.fail(0.0, started(kept, 0.0), memory=True)
    for number in range(8, 16):
        kept.offer(0.0, request(number))
    rows = []
    while (batch := kept.start(0.0).batch) is not None:
        rows.append(batch.rows)
        kept.finish(0.0, batch)
    assert rows == [4, 4, 4, 4]


def test_a_cancelled_request_leaves_its_neighbours_alone() -> None:
    kept = scheduler()
    for number in range(4):
        kept.offer(0.0, request(number))
    assert kept.cancel(1)
    assert not kept.cancel(1)
    batch = started(kept, 0.0)
    assert numbers(batch.requests) == [0, 2, 3]
    assert kept.cancel(2)
    assert numbers(kept.finish(0.01, batch)) == [0, 3]
    assert kept.accounts.ended == {Outcome.OK: 2, Outcome.CANCELLED: 2}


def test_bytes_that_wait_are_bounded_but_one_request_always_fits() -> None:
    kept = scheduler(max_bytes=100)
    assert kept.offer(0.0, request(0, size=500)) is None
    refusal = kept.offer(0.0, request(1, size=1))
    assert refusal is not None
    assert "bytes" in refusal.reason


def test_deciding_depends_on_nothing_but_time_and_state() -> None:
    def play() -> list[list[int]]:
        kept, seen = scheduler(), []
        for step in range(200):
            kept.offer(step * 1e-3, request(step, step * 1e-3, level=1 + step % 3))
            batch = kept.start(step * 1e-3).batch
            if batch is not None:
                seen.append(numbers(batch.requests))
                kept.finish(step * 1e-3, batch)
        return seen

    assert play() == play()


def test_a_width_believed_too_slow_is_tried_again_although_others_keep_the_server_at_work() -> None:
    kept, number = scheduler(), 0
    for _ in range(3):  # slow, and not only the first time
        kept.latency.observe(WIDE.width, 1, 0.5)
    taken = []
    for tick in range(150):
        now = 0.02 * tick
        for bucket in (BUCKET, WIDE):
            number += 1
            if kept.offer(now, request(number, now, bucket=bucket)) is None:
                if bucket is WIDE:
                    taken.append(now)
                kept.finish(now + 0.005, started(kept, now))
    assert len(taken) >= 3, "once a second, until what it takes is known to have changed"


def test_who_waited_too_long_is_not_run_for_being_the_first_of_its_width() -> None:
    kept = scheduler()
    kept.offer(0.0, request(0))
    batch = started(kept, 0.0)
    assert kept.offer(0.0, request(1, bucket=WIDE)) is None
    kept.finish(0.095, batch)  # far later than was predicted
    decision = kept.start(0.095)
    assert decision.batch is None
    assert numbers(decision.expired) == [1]


@pytest.mark.parametrize("seconds", [1e-4, 5e-3, 0.2, 1.0])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("after", [0.0, 0.01, 5.0])
@pytest.mark.parametrize("worked", [False, True])
def test_taking_at_once_decides_as_offering_and_starting_do(seconds: float, rows: int, after: float, worked: bool) -> None:
    """What a quiet scheduler does without its queue is what it does with it, and leaves the same behind."""

    def fresh() -> Scheduler:
        latency = LatencyModel([Seed(width=1, rows=r, seconds=seconds * r) for r in (1, 8)], 8)
        kept = Scheduler(Policy(objective=0.5, max_rows=8), latency)
        if worked and kept.offer(-1.0, request(0, -1.0)) is None:
            batch = kept.start(-1.0).batch
            assert batch is not None
            kept.finish(0.0, batch)
        return kept

    quick, slow = fresh(), fresh()
    assert quick.quiet
    asked = request(1, after, rows=rows)
    taken = quick.take(after, asked)
    refusal = slow.offer(after, asked)
    if refusal is not None:
        assert taken == refusal
    else:
        batch = slow.start(after).batch
        assert isinstance(taken, Batch)
        assert batch is not None
        assert (taken.requests, taken.rows, taken.width) == (batch.requests, batch.rows, batch.width)
        assert (taken.started, taken.expected) == (batch.started, batch.expected)
        assert not quick.quiet
        assert quick.finish(after + seconds, taken) == slow.finish(after + seconds, batch) == [asked]
    assert quick.accounts.ended == slow.accounts.ended
    assert (quick.accounts.sent, quick.accounts.open) == (slow.accounts.sent, 0)
    assert quick.quiet


def test_a_scheduler_is_quiet_only_when_nothing_waits_or_runs() -> None:
    kept = scheduler()
    kept.offer(0.0, request(1, 0.0))
    assert not kept.quiet
    batch = kept.start(0.0).batch
    assert batch is not None
    kept.cancel(1)
    assert not kept.quiet, "nobody wants the batch any more, and still it runs"
    kept.finish(0.1, batch)
    assert kept.quiet


def test_one_slow_batch_at_the_start_does_not_make_a_server_refuse_everything() -> None:
    """A slow first batch makes the likely time of every batch longer than the objective; nothing else would teach better."""
    kept = scheduler(objective=0.1, max_rows=1)
    kept.offer(0.0, request(0))
    kept.finish(0.031, started(kept, 0.0))  # three times what was expected; first ones beyond that count as compiling
    kept.latency.observe(1, 1, 0.095)
    assert 1.1 * kept.latency.likely(1, 1) > 0.1, "or nothing is shown"
    answered, now = 0, 0.1
    for number in range(1, 60):
        now += 0.03
        if kept.offer(now, request(number, now, deadline=now + 0.1)) is None:
            kept.finish(now + 0.011, started(kept, now))
            answered += 1
    assert answered == 59


def test_rows_are_preferred_where_they_wait_and_half_the_objective_allows() -> None:
    for least, expected in ((1, 1), (6, 6), (8, 1)):
        policy = Policy(objective=0.1, max_rows=8, min_rows=least)
        seeds = [Seed(width=1, rows=1, seconds=5e-3), Seed(width=1, rows=8, seconds=64e-3)]  # fewer are quicker per row
        kept = Scheduler(policy, LatencyModel(seeds, 8))
        for number in range(8):
            kept.offer(0.0, request(number, level=1))
        assert len(started(kept, 0.0).requests) == expected, least


def test_the_rows_of_a_batch_begin_where_the_policy_says() -> None:
    kept = scheduler(max_rows=8, first_rows=3)
    for number in range(8):
        kept.offer(0.0, request(number))
    assert len(started(kept, 0.0).requests) == 3
