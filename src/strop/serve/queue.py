"""Waiting requests: first come, first served within a bucket and a level; across levels, by when they count as come."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator

from strop.serve.request import Bucket, Request
from strop.units import Bytes, Seconds


class Queue:
    """Holds waiting requests in order.

    A request of level n counts as if it had come ``(n - 1) * ageing`` seconds later than it did. Nothing that comes later
    than that can overtake it, so its waiting is bounded however many urgent requests come.

    Args:
        ageing: seconds by which a level is set back.
    """

    def __init__(self, ageing: Seconds) -> None:
        self._ageing = ageing
        self._lines: dict[Bucket, dict[int, deque[Request]]] = {}
        self._waiting: dict[int, Request] = {}
        self._deadlines: list[tuple[Seconds, int]] = []
        self.rows: dict[Bucket, Counter[int]] = {}
        """Bucket → level → rows that wait."""
        self.size: Bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, number: int) -> bool:
        return number in self._waiting

    def add(self, request: Request) -> None:
        """Put a request at the end of its line."""
        self._waiting[request.number] = request
        self._lines.setdefault(request.bucket, {}).setdefault(request.level, deque()).append(request)
        self.rows.setdefault(request.bucket, Counter())[request.level] += request.rows
        self.size += request.size
        heapq.heappush(self._deadlines, (request.deadline, request.number))

    def remove(self, number: int) -> Request | None:
        """Take a request out, wherever it stands; ``None`` when it does not wait."""
        request = self._waiting.pop(number, None)
        if request is None:
            return None
        self.size -= request.size
        levels = self.rows[request.bucket]
        levels[request.level] -= request.rows
        lines = self._lines[request.bucket]
        line = lines[request.level]
        while line and line[0].number not in self._waiting:
            line.popleft()
        if not line:
            del lines[request.level], levels[request.level]
        if not lines:
            del self._lines[request.bucket], self.rows[request.bucket]
        return request

    def head(self) -> Request | None:
        """Return the request whose turn it is."""
        heads = (line[0] for lines in self._lines.values() for line in lines.values())
        return min(heads, key=self.turn, default=None)

    def line(self, bucket: Bucket) -> Iterator[Request]:
        """Go through the requests of a bucket in order of their turn."""
        lines = self._lines.get(bucket, {})
        merged = iter(next(iter(lines.values()))) if len(lines) == 1 else heapq.merge(*lines.values(), key=self.turn)
        return (request for request in merged if request.number in self._waiting)

    def late(self, now: Seconds) -> Iterator[Request]:
        """Take out and return the requests whose deadline has passed."""
        while (due := self.next_deadline()) is not None and due <= now:
            request = self.remove(heapq.heappop(self._deadlines)[1])
            if request is not None:
                yield request

    def next_deadline(self) -> Seconds | None:
        """Return the earliest deadline of a waiting request."""
        while self._deadlines and self._deadlines[0][1] not in self._waiting:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def turn(self, request: Request) -> tuple[Seconds, int]:
        """Return what requests are ordered by."""
        return request.arrived + (request.level - 1) * self._ageing, request.number
