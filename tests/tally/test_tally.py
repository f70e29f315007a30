"""Counting costs next to nothing, and buckets are right."""

from __future__ import annotations

import sys
import time
from collections import Counter

from dicomnode.tally import BOUNDS, Arrivals, Timing

COUNTED = 1000
MOST_CALLS, MOST_C_CALLS = 8.1, 11.1  # of Python and of C functions for an instance


def test_buckets() -> None:
    timing = Timing()
    for seconds in (0.0005, 0.001, 0.0011, 1000.0):
        timing.add(seconds)
    assert timing.counts[:2] == [2, 1]
    assert timing.counts[len(BOUNDS)] == 1
    assert timing.seconds == 0.0005 + 0.001 + 0.0011 + 1000.0


def test_who_waits_longest() -> None:
    arrivals = Arrivals()
    assert arrivals.oldest() is None
    first, second = arrivals.whole(0.0, 10), arrivals.whole(0.0, 20)
    with second, first:
        oldest = arrivals.oldest()
        assert oldest is not None
        assert time.perf_counter() - oldest < 5
    assert arrivals.oldest() is None
    assert arrivals.bytes == 30
    assert sum(arrivals.answer.counts) == sum(arrivals.receive.counts) == 2


def test_an_instance_costs_little() -> None:
    """Calls, for time depends on the machine: 5 microseconds on an ordinary one."""
    arrivals, calls = Arrivals(), Counter[str]()
    sys.setprofile(lambda _, event, __: calls.update([event]))
    try:
        for _ in range(COUNTED):
            with arrivals.whole(time.perf_counter(), 500_000):
                begin = time.perf_counter()
                arrivals.clean.add(time.perf_counter() - begin)
                begin = time.perf_counter()
                arrivals.keep.add(time.perf_counter() - begin)
                arrivals.stored += 1
    finally:
        sys.setprofile(None)
    assert calls["call"] / COUNTED <= MOST_CALLS
    assert calls["c_call"] / COUNTED <= MOST_C_CALLS
