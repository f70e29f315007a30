"""What a list of 100 000 studies costs the identity book: time to enter, per step, and memory."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dicomnode.store.identity import IdentityBook
from dicomnode.store.jobs import ACTIVE, MOVING, Line

PART = 1000  # lines that the command hands over at once


def _memory() -> float:
    """Resident megabytes now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _milliseconds(work: Callable[[], object], times: int) -> dict[str, float]:
    """The median and the slowest of a step."""
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begin) * 1000)
    return {"median ms": round(statistics.median(spent), 2), "slowest ms": round(max(spent), 1)}


def measure(count: int, times: int, folder: Path) -> dict[str, object]:
    """Enter a list and take `times` steps of a worker, a follower and `dicomnode jobs`."""
    book = IdentityBook.open(folder / "identity.db")
    jobs, before, begin = book.jobs, _memory(), time.perf_counter()
    number = jobs.add("trial", "staging", "benchmark")
    for at in range(0, count, PART):
        lines = [(Line("study", f"1.2.3.{n}"), f"key{n:040d}", f"2.25.{n}") for n in range(at, min(at + PART, count))]
        jobs.enter(number, lines).result()
    jobs.change(number, ACTIVE).result()
    entered, after = time.perf_counter() - begin, _memory()

    def step() -> None:
        job = jobs.next_job(number, time.time())
        assert job is not None
        jobs.set_job(job.id, MOVING).result()
        jobs.set_job(job.id, "arrived", expected=3, here=3).result()

    retrieval = jobs.retrieval(number)
    assert retrieval is not None
    told = {
        "next job": _milliseconds(lambda: jobs.next_job(number, time.time()), times),
        "one study, both commits": _milliseconds(step, times),
        "a page of 100 jobs": _milliseconds(lambda: jobs.jobs(number, count // 2, 100), times),
        "counts by state": _milliseconds(lambda: jobs.counts(number), times),
        "progress": _milliseconds(lambda: jobs.progress(retrieval), times),
    }
    megabytes = {"before": round(before), "entered": round(after), "at the end": round(_memory())}
    book.close()
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return {
        "jobs": count,
        "seconds to enter": round(entered, 1),
        **told,
        "memory MB": megabytes,
        "file MB": round(size),
    }


def main() -> None:
    """Measure and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options.jobs, options.times, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
