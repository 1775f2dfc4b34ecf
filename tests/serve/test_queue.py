"""Order of turns, removal from anywhere, and deadlines."""

from __future__ import annotations

import random
from typing import Any

from strop.serve.queue import Queue
from strop.serve.request import Bucket, Request

A, B = Bucket("a", 8), Bucket("b", 16)


def request(number: int, **changes: Any) -> Request:
    settings = {"number": number, "arrived": float(number), "deadline": 100.0 + number, "bucket": A, **changes}
    return Request(**settings)


def order(queue: Queue) -> list[int]:
    numbers = []
    while (head := queue.head()) is not None:
        numbers.append(head.number)
        queue.remove(head.number)
    return numbers


def test_first_come_first_served_across_buckets() -> None:
    queue = Queue(1.0)
    for number in range(6):
        queue.add(request(number, bucket=(A, B)[number % 2]))
    assert [r.number for r in queue.line(A)] == [0, 2, 4]
    assert order(queue) == list(range(6))


def test_a_level_counts_as_coming_later_and_no_more() -> None:
    queue = Queue(2.5)
    for number, level in enumerate((3, 2, 1, 1, 1, 1, 1, 1, 1)):
        queue.add(request(number, level=level))
    assert [r.number for r in queue.line(A)] == order(queue) == [2, 3, 1, 4, 0, 5, 6, 7, 8]


def test_removing_from_anywhere_leaves_the_rest_in_order_and_nothing_behind() -> None:
    draw = random.Random(1)
    queue, held = Queue(1.0), {}
    for number in range(300):
        held[number] = request(number, bucket=draw.choice((A, B)), level=draw.choice((1, 2, 3)), rows=2, size=10)
        queue.add(held[number])
    for number in draw.sample(sorted(held), 250):
        assert queue.remove(number) is held.pop(number)
        assert queue.remove(number) is None
        assert len(queue) == len(held)
        assert queue.size == 10 * len(held)
        assert sum(levels.total() for levels in queue.rows.values()) == 2 * len(held)
    assert order(queue) == [r.number for r in sorted(held.values(), key=queue.turn)]
    assert (len(queue), queue.size, queue.rows, queue.next_deadline()) == (0, 0, {}, None)


def test_what_is_late_is_taken_out_wherever_it_stands() -> None:
    queue = Queue(1.0)
    for number, deadline in enumerate((9.0, 3.0, 5.0, 3.5)):
        queue.add(request(number, deadline=deadline))
    queue.remove(3)
    assert queue.next_deadline() == 3.0
    assert [r.number for r in queue.late(4.9)] == [1]
    assert [r.number for r in queue.late(5.0)] == [2]
    assert order(queue) == [0]
