"""A run over a folder: the files in batches, in one process or several, and what became of them."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context

from dicomnode.errors import CannotKeep
from dicomnode.folders.job import Job
from dicomnode.folders.mapping import Mapping
from dicomnode.folders.tally import Tally
from dicomnode.folders.targets import sweep
from dicomnode.folders.work import Done, Worker

BATCH = 32
"""So many files are written before they are synced together."""
WORTH_A_PROCESS = 4 * BATCH
"""With fewer files for each, another process takes longer to start than it saves."""
PR_SET_DUMPABLE, PR_SET_PDEATHSIG = 4, 1

Tell = Callable[[Tally, int, float], None]


@dataclass(slots=True)
class Result:
    """The sum of a run; `mapping` is identified."""

    tally: Tally = field(default_factory=Tally)
    mapping: Mapping = field(default_factory=Mapping)
    judged: list[str] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, done: Done) -> None:
        """Enter one batch."""
        for outcome in done.outcomes:
            self.tally.add(outcome)
        self.mapping.merge(done.mapping)
        self.judged += done.judged
        self.sent |= done.sent
        self.missing.update(done.missing)


def run(job: Job, workers: int, tell: Tell) -> Result:
    """De-identify all files of the job's source; `tell` hears of the progress after each batch.

    Raises CannotKeep when the target cannot be written; what was done until then is there and counts in the next run.
    """
    sweep(job.target)
    names = list(job.names())
    result, began = Result(), time.monotonic()
    job = job.of_one_patient(names).of_whole_series(names)
    workers = max(1, min(workers, len(names) // WORTH_A_PROCESS))
    batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
    for done in _alone(job, batches) if workers == 1 else _together(job, batches, workers):
        result.add(done)
        tell(result.tally, len(names), time.monotonic() - began)
    return result


def _alone(job: Job, batches: Sequence[list[str]]) -> Iterator[Done]:
    with closing(job.worker()) as worker:
        for batch in batches:
            yield worker.take(batch)


def _together(job: Job, batches: Sequence[list[str]], workers: int) -> Iterator[Done]:
    """The batches in as many processes; few wait in their queue, so that an interruption ends soon."""
    pool = ProcessPoolExecutor(workers, get_context(job.way), _begin, (job, os.getpid()))
    waiting: set[Future[Done]] = set()
    left = iter(batches)
    try:
        while True:
            while len(waiting) < 2 * workers and (batch := next(left, None)) is not None:
                waiting.add(pool.submit(_take, batch))
            if not waiting:
                return
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()
    except BrokenProcessPool:
        raise CannotKeep("a worker process died", "run it again, with fewer --workers if memory is short") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        sweep(job.target)


_workers: list[Worker] = []
"""The worker of this process, once it has begun."""


def _begin(job: Job, parent: int) -> None:
    """In a new process: end with the parent, leave interruptions to it, dump no core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    library.prctl(PR_SET_DUMPABLE, 0)
    if os.getppid() != parent:  # it was killed before it could be followed
        os._exit(1)
    _workers.append(job.worker())


def _take(names: list[str]) -> Done:
    return _workers[0].take(names)
