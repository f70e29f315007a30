"""Counting costs next to nothing, and buckets are right."""

from __future__ import annotations

import time

from dicomnode.tally import BOUNDS, Arrivals, Timing

MOST = 5e-6  # seconds per instance


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
    arrivals, best = Arrivals(), 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            with arrivals.whole(time.perf_counter(), 500_000):
                begin = time.perf_counter()
                arrivals.clean.add(time.perf_counter() - begin)
                begin = time.perf_counter()
                arrivals.keep.add(time.perf_counter() - begin)
                arrivals.stored += 1
        best = min(best, (time.perf_counter() - began) / 1000)
    assert best < MOST, f"{best * 1e6:.1f} µs"
