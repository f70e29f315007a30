"""How memory is given back, by the C library's allocator and by Python's search for cycles.

Months of large and small instances must not add up in heaps.
"""

from __future__ import annotations

import ctypes
import gc
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # malloc.h
MAPPED = 1 << 20
KEPT = 4 << 20  # free bytes that stay at a heap's end
ARENAS = 2  # heaps; the threads that would have one each run one at a time anyway
STARTING, RUNNING = (10_000, 20, 20), (2_000, 20, 20)
"""When Python searches for cycles. While it runs not too seldom: the header of a withheld instance waits for that."""


def settle() -> None:
    """Set the bounds; to be called before there are threads. Another C library than glibc is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((MMAP_THRESHOLD, MAPPED), (TRIM_THRESHOLD, KEPT), (ARENA_MAX, ARENAS)):
            mallopt(parameter, value)


def starting() -> None:
    """Search for cycles seldom, for what is imported stays; to be called before it is."""
    gc.set_threshold(*STARTING)


def running() -> None:
    """To be called when all that stays is there: it is not searched for cycles again, what comes is."""
    gc.freeze()
    gc.set_threshold(*RUNNING)


def trim() -> None:
    """Give back what is free; takes about a millisecond."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def do_without(package: str) -> None:
    """Let an optional package that nobody has loaded yet count as not installed."""
    sys.modules.setdefault(package, None)  # type: ignore[arg-type]
