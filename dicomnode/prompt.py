"""What a task waits for without losing time: when it comes the task goes on at once, not in the loop's next round.

On a busy loop a round takes milliseconds, in which an association that could go on stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

Callback = Callable[["Prompt[Any]"], object]


class Prompt(Generic[T]):
    """Awaited by one task, as a future of asyncio is. All methods belong to its loop."""

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "_cancelled", "_ended", "_error", "_loop", "_value")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False  # by this a task knows what it can wait for
        self._loop = loop
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[tuple[Callback, Context | None]] = []
        self._ended = False
        self._cancelled = False

    def __await__(self) -> Generator[Prompt[T], None, T]:
        try:
            if not self._ended:
                self._asyncio_future_blocking = True
                yield self
            return self.result()
        finally:
            del self  # an error holds the frames that it went through, and what was awaited its error

    def come(self, value: T) -> None:
        """It is there. Who waits goes on before this returns, unless a task calls this: then in the next round."""
        self._value = value
        self._end()

    def _end(self) -> None:
        self._ended = True
        callbacks, self._callbacks = self._callbacks, []
        at_once = asyncio.current_task(self._loop) is None
        for callback, context in callbacks:
            if context is None:
                callback(self)
            elif at_once:
                context.run(callback, self)
            else:
                self._loop.call_soon(callback, self, context=context)
        del self

    def result(self) -> T:
        """What came; raises what went wrong, and CancelledError."""
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
        """Have it called when it comes; a task, which gives its context, also when it is cancelled."""
        if self._ended:
            self._loop.call_soon(callback, self, context=context)
        else:
            self._callbacks.append((callback, context))

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose task waits."""
        return self._loop


def begin(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, None, T]) -> asyncio.Task[T] | None:
    """Do work up to where it waits, now and not in the loop's next round; the task that goes on, None when it is done.

    Call it outside of tasks. Until it waits for the first time, asyncio.timeout and the like are not possible.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return loop.create_task(_Begun(work, awaited))


class _Begun(Coroutine[Any, None, T]):
    """Work that waits for `awaited`, as its task finds it: the first step tells what that is."""

    __slots__ = ("_awaited", "_work")

    def __init__(self, work: Coroutine[Any, None, T], awaited: Any) -> None:
        self._work, self._awaited = work, [awaited]
        if awaited is not None:
            awaited._asyncio_future_blocking = False  # others may come to wait for it before the first step

    def send(self, value: None) -> Any:
        """One step of the task."""
        if not self._awaited:
            return self._work.send(value)
        awaited = self._awaited.pop()
        if awaited is not None:
            awaited._asyncio_future_blocking = True
        return awaited

    def throw(self, *error: Any) -> Any:
        """The task was cancelled; what it waits for would have been, too, had it taken its first step."""
        awaited = self._awaited.pop() if self._awaited else None
        if awaited is not None:
            awaited.cancel()
        return self._work.throw(*error)

    def close(self) -> None:
        """The task is given up."""
        self._work.close()

    def __await__(self) -> Generator[Any, None, T]:
        return self._work.__await__()
