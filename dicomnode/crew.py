"""Threads for short blocking work of the event loop, such as a write and its sync, handed over and back lightly.

An executor's future, chained to one of asyncio's, costs a tenth of what is done with a small instance.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import Context
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

Callback = Callable[["Job[Any]"], object]


class Job(Generic[T]):
    """Work in a thread of a crew, to be awaited by one task of the loop that handed it over.

    It goes on when that task is cancelled, unless no thread has begun it.
    """

    __slots__ = (
        "_arguments",
        "_asyncio_future_blocking",
        "_callbacks",
        "_cancelled",
        "_ended",
        "_error",
        "_loop",
        "_value",
        "_work",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[..., T], arguments: tuple[object, ...]) -> None:
        self._asyncio_future_blocking = False  # by this a task knows what it can wait for
        self._loop = loop
        self._work, self._arguments = work, arguments
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[tuple[Callback, Context | None]] = []
        self._ended = False
        self._cancelled = False

    def __await__(self) -> Generator[Job[T], None, T]:
        try:
            if not self._ended:
                self._asyncio_future_blocking = True
                yield self
            return self.result()
        finally:
            del self  # an error holds the frames that it went through, and a job its error

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

    def _end(self) -> None:
        """On the loop: who waits goes on at once, not in the loop's next round."""
        self._ended = True
        callbacks, self._callbacks = self._callbacks, []
        for callback, context in callbacks:
            if context is None:
                callback(self)
            else:
                context.run(callback, self)
        del self

    def result(self) -> T:
        """What the work returned; raises what it raised, and CancelledError."""
        if self._cancelled:
            raise asyncio.CancelledError
        error = self._error
        try:
            if error is not None:
                raise error
            return cast(T, self._value)
        finally:
            del self, error

    def cancel(self, msg: object = None) -> bool:
        """The task that waits is cancelled (asyncio.Task.cancel); False when there is nothing to wait for."""
        if self._ended or self._cancelled:
            return False
        self._cancelled = True
        waiting = [each for each in self._callbacks if each[1] is not None]
        self._callbacks = [each for each in self._callbacks if each[1] is None]
        for callback, context in waiting:
            self._loop.call_soon(callback, self, context=context)
        return True

    def add_done_callback(self, callback: Callback, /, *, context: Context | None = None) -> None:
        """Have it called on the loop when the work has ended; a task, which gives its context, also when cancelled."""
        if self._ended:
            self._loop.call_soon(callback, self, context=context)
        else:
            self._callbacks.append((callback, context))

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that handed it over."""
        return self._loop


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

    def _ended(self, job: Job[Any]) -> None:
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
