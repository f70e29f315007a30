"""Counting on the way of an instance: plain numbers, so that it costs nearly nothing; who shows them asks.

Everything is counted on the event loop; only the end of work in a thread may be noted by that thread.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Timing:
    """How long something took: how often up to each of BOUNDS (the last place: longer), and seconds in all."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Work(Protocol):
    """A future of asyncio or of concurrent.futures."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        """Have it called with the future when that is done, perhaps by another thread."""


class Arrivals:
    """What became of the instances that came, their bytes, and how long each stage took."""

    def __init__(self) -> None:
        self.stored = 0
        self.duplicates = 0
        self.refused = 0
        self.withheld: Counter[str] = Counter()  # by reason
        self.bytes = 0
        self.receive, self.clean, self.keep, self.answer = Timing(), Timing(), Timing(), Timing()
        self.under_way: dict[Whole, float] = {}
        self.beside: dict[Work, float] = {}

    def whole(self, began: float, size: int) -> Whole:
        """An instance has come whole, having begun at `began`; enter what this returns until it is answered."""
        now = time.perf_counter()
        self.bytes += size
        self.receive.add(now - began)
        return Whole(self, now)

    def watch(self, work: Work, allowed: float = 0.0) -> None:
        """Note work in a thread until it is done, waited for or not; `allowed` are seconds that it may well take."""
        self.beside[work] = time.perf_counter() + allowed
        work.add_done_callback(self._done)

    def _done(self, work: Work) -> None:
        self.beside.pop(work, None)

    def oldest(self) -> float | None:
        """Since when the oldest instance waits for its answer, or work in a thread for its end (time.perf_counter).

        A sender is answered without its instance when it has waited too long: work that hangs is seen by itself alone.
        """
        return min([*self.under_way.values(), *list(self.beside.values())], default=None)


class Whole:
    """An instance that waits for its answer."""

    __slots__ = ("_arrivals", "_since")

    def __init__(self, arrivals: Arrivals, since: float) -> None:
        self._arrivals = arrivals
        self._since = since

    def __enter__(self) -> None:
        self._arrivals.under_way[self] = self._since

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self._arrivals.under_way[self]
        self._arrivals.answer.add(time.perf_counter() - self._since)


class Departures:
    """What became of the instances sent to one destination, their bytes, and how long each took."""

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0
        self.bytes = 0
        self.send = Timing()
