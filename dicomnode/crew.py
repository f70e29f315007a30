"""Threads for short blocking work of the event loop, such as a write and its sync, handed over and back lightly.

An executor's future, chained to one of asyncio's, costs a tenth of what is done with a small instance.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from dicomnode.prompt import Prompt

T = TypeVar("T")


class Job(Prompt[T]):
    """Work in a thread of a crew, to be awaited by one task of the loop that handed it over.

    It goes on when that task is cancelled, unless no thread has begun it.
    """

    __slots__ = ("_arguments", "_work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[..., T], arguments: tuple[object, ...]) -> None:
        super().__init__(loop)
        self._work, self._arguments = work, arguments

    def run(self) -> None:
        """Do it, in a thread of the crew."""
        loop, end = self._loop, self._end
        try:
            if not self._cancelled:
                self._value = self._work(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._error = error
        self._arguments = ()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(end)
        del self, end


class Crew:
    """Up to `size` threads that take jobs in order; no more than there were jobs at once. Belongs to an event loop."""

    def __init__(self, size: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._size, self._name = size, name
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False

    def submit(self, work: Callable[..., T], *arguments: object) -> Job[T]:
        """Have work done; raises RuntimeError once the crew is closed."""
        if self._closed:
            raise RuntimeError("the threads have ended")
        job = Job(self._loop, work, arguments)
        job.add_done_callback(self._ended)
        self._busy += 1
        if len(self._threads) < min(self._busy, self._size):
            thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._jobs.put(job)
        return job

    def _ended(self, job: Prompt[Any]) -> None:
        self._busy -= 1

    def close(self) -> None:
        """Return when all that was submitted is done; blocks. It may be called in another thread than the loop's."""
        self._closed = True
        self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job
        self._jobs.put(None)  # for the next thread, also one that began meanwhile
