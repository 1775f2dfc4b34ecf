"""How long a batch will take: measured beforehand, learned on, and never asked of a clock here.

Time is kept per width of a row at a few numbers of rows (knots), linear in between and never falling. Each knot holds
the latest batches near it, so that the shape of the curve is learned and not only its height. Two predictions are
given: the *typical* time (median), which adds up over many batches, and the *likely* one (95th percentile), which a
single promise is made with.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from strop.errors import UsageError
from strop.units import Ratio, Seconds

WINDOW = 100
"""Batches remembered per knot, so that a machine that slowed down is noticed."""
MEMORY: Seconds = 1.0
"""Time after which a batch is forgotten. A size that a short disturbance made look slow is not run any more and so cannot
prove better; forgotten, it is predicted from the sizes that still run. The latest batch is always remembered."""
REFRESH: Seconds = 20e-3
"""Time spent in batches between two looks at what they taught: rare for quick models, after each batch for slow ones."""
LIKELY: Ratio = 0.95
SHORTEST: Seconds = 1e-6
"""What a batch counts as that a coarse clock saw take no time."""
COMPILING: Ratio = 3.0
"""A first batch of a size that takes this many times what was predicted was compiling, and says nothing of the next one."""
SPREAD: Ratio = 1.1
"""How far the likely time lies above the typical one as long as nothing was observed."""
RECENT = 20
"""Latest batches of any width, which tell how much slower than their seeds those run that were not seen yet: a server that
has much to do shares its cores with its engine, and seeds were measured without that."""
FEW = 5
"""Fewer of them tell nothing."""
SHIFT: Ratio = 1.1
"""How much that must change before predictions are changed for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A time measured before serving.

    Attributes:
        width: elements of a row.
        rows: rows of the batch.
        seconds: median time of a call.
    """

    width: int
    rows: int
    seconds: Seconds


@dataclass(slots=True)
class _Curve:
    """Prediction for one width.

    Attributes:
        anchors: times at the knots, from the seeds.
        places: by rows, the knot that a batch of so many tells of, and what its time is multiplied by to count there.
        seen: by knot, when the batches near it ended and the time each counts for.
        met: rows of batches that were seen.
        typical: by rows.
        likely: by rows.
        best: limit → rows of the best batch within it.
        unread: time of the batches that nothing was learned from yet.
    """

    anchors: list[Seconds]
    places: list[tuple[int, Ratio]]
    seen: list[deque[tuple[Seconds, Seconds]]]
    met: set[int] = field(default_factory=set)
    typical: list[Seconds] = field(default_factory=list)
    likely: list[Seconds] = field(default_factory=list)
    best: dict[Seconds, int] = field(default_factory=dict)
    unread: Seconds = 0.0


class LatencyModel:
    """Predicts the time of a batch from its rows and their width.

    Args:
        seeds: times measured before serving; at least one. Times of other rows and widths follow ``rows * width``.
        most: largest number of rows that will be asked for.

    Raises:
        UsageError: there is no seed, or one is not positive.
    """

    def __init__(self, seeds: Iterable[Seed], most: int) -> None:
        self.seeds = tuple(seeds)
        if not self.seeds or any(min(s.width, s.rows, s.seconds) <= 0 for s in self.seeds):
            raise UsageError("predicting latency needs measured times, each with positive width, rows and seconds.")
        self._most = most
        self._knots = [1 << k for k in range(most.bit_length()) if 1 << k < most] + [most]
        self._curves: dict[int, _Curve] = {}
        self._recent: deque[Ratio] = deque(maxlen=RECENT)
        self._slower: Ratio = 1.0

    def typical(self, width: int, rows: int) -> Seconds:
        """Return the median time of a batch."""
        table = (self._curves.get(width) or self._curve(width)).typical
        return table[rows] if rows <= self._most else self._beyond(table, rows)

    def likely(self, width: int, rows: int) -> Seconds:
        """Return the time that 95 of 100 batches keep."""
        table = (self._curves.get(width) or self._curve(width)).likely
        return table[rows] if rows <= self._most else self._beyond(table, rows)

    def best_rows(self, width: int, limit: Seconds) -> int:
        """Return the rows of the batch with most rows per second among those that typically end within ``limit``; at least 1."""
        curve = self._curve(width)
        if limit not in curve.best:
            rates = [rows / curve.typical[rows] for rows in range(1, self._most + 1) if curve.typical[rows] <= limit] or [1.0]
            curve.best[limit] = rates.index(max(rates)) + 1
        return curve.best[limit]

    def observe(self, width: int, rows: int, seconds: Seconds, now: Seconds = 0.0) -> Ratio:
        """Learn from a batch that ended ``now``; return its time as a ratio of the typical one predicted."""
        curve, seconds = self._curves.get(width) or self._curve(width), max(seconds, SHORTEST)
        ratio = seconds / self.typical(width, rows)
        if rows not in curve.met:
            curve.met.add(rows)
            if ratio > COMPILING:
                return ratio
        near, scale = curve.places[rows] if rows <= self._most else (len(self._knots) - 1, self._most / rows)
        curve.seen[near].append((now, seconds * scale))
        self._recent.append(seconds * scale / curve.anchors[near])
        curve.unread += seconds
        if curve.unread >= REFRESH:
            self._learn(curve, now)
            self._compare()
        return ratio

    def _compare(self) -> None:
        """Let what runs tell of the widths that did not run yet."""
        slower = sorted(self._recent)[len(self._recent) // 2] if len(self._recent) >= FEW else 1.0
        if not 1 / SHIFT < slower / self._slower < SHIFT:
            self._slower = slower
            for curve in self._curves.values():
                if not any(curve.seen):
                    self._learn(curve)

    def _beyond(self, table: list[Seconds], rows: int) -> Seconds:
        return table[-1] * rows / self._most

    def _curve(self, width: int) -> _Curve:
        curve = self._curves.get(width)
        if curve is None:
            anchors = [self._anchor(width, rows) for rows in self._knots]
            places = [self._place(anchors, rows) for rows in range(self._most + 1)]
            curve = self._curves[width] = _Curve(anchors, places, [deque(maxlen=WINDOW) for _ in self._knots])
            self._learn(curve)
        return curve

    def _place(self, anchors: list[Seconds], rows: int) -> tuple[int, Ratio]:
        place = bisect_left(self._knots, rows)
        low, high = self._knots[max(place - 1, 0)], self._knots[place]
        near = place if place == 0 or rows - low > (high - low) / 2 else place - 1
        return near, anchors[near] / self._between(anchors, max(rows, 1))

    def _anchor(self, width: int, rows: int) -> Seconds:
        """Read a time off the seeds: those of the nearest width, linear in ``rows * width``; an upper bound below them."""
        nearest = min({seed.width for seed in self.seeds}, key=lambda w: (abs(w - width), w))
        known = sorted({s.rows * s.width: s.seconds for s in self.seeds if s.width == nearest}.items())
        cost = rows * width
        if cost <= known[0][0]:
            return known[0][1]
        if cost >= known[-1][0]:
            slope = (known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0]) if len(known) > 1 else known[0][1] / known[0][0]
            return known[-1][1] + (cost - known[-1][0]) * max(slope, 0.0)
        place = bisect_left(known, (cost, 0.0))
        (c0, s0), (c1, s1) = known[place - 1], known[place]
        return s0 + (s1 - s0) * (cost - c0) / (c1 - c0)

    def _learn(self, curve: _Curve, now: Seconds = 0.0) -> None:
        typical, likely = [], []
        latest = max((seen[-1][0] for seen in curve.seen if seen), default=now)
        for seen in curve.seen:
            while seen and seen[0][0] < min(now - MEMORY, latest):
                seen.popleft()
        for knot, seen in enumerate(curve.seen):
            source = min((k for k, s in enumerate(curve.seen) if s), key=lambda k: abs(k - knot), default=None)
            scale = curve.anchors[knot]
            if source is None:
                typical.append(scale * self._slower)
                likely.append(scale * self._slower * SPREAD)
                continue
            ordered, scale = sorted(taken for _, taken in seen or curve.seen[source]), scale / curve.anchors[source]
            middle = ordered[(len(ordered) - 1) // 2] * scale  # of two the smaller: one slow batch is not typical yet
            typical.append(middle)
            likely.append(max(ordered[min(len(ordered) - 1, int(LIKELY * len(ordered)))] * scale, middle))
        curve.typical, curve.likely = self._table(typical), self._table(likely)
        curve.best.clear()
        curve.unread = 0.0

    def _table(self, at_knots: list[Seconds]) -> list[Seconds]:
        """Return the times for 0, 1, … rows, made never to fall."""
        rising = [max(at_knots[: k + 1]) for k in range(len(at_knots))]
        return [rising[0]] + [self._between(rising, rows) for rows in range(1, self._most + 1)]

    def _between(self, at_knots: list[Seconds], rows: int) -> Seconds:
        if rows >= self._most:
            return at_knots[-1] * rows / self._most
        place = bisect_left(self._knots, rows)
        if self._knots[place] == rows:
            return at_knots[place]
        low, high = self._knots[place - 1], self._knots[place]
        return at_knots[place - 1] + (at_knots[place] - at_knots[place - 1]) * (rows - low) / (high - low)
