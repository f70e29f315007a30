"""One thread that writes for all callers: what waits together is committed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection, Engine

from dicomnode.errors import CannotKeep
from dicomnode.store.database import plain

Operation = tuple[Any, tuple[Any, ...]]  # what to do, and its row

LINGER = 0.05  # seconds that a batch nobody hurries may gather
FIRST_RETRY = 0.05
MOST_RETRY = 2.0


class Writer:
    """Queues operations and commits them in order, in batches; a batch that fails is tried again until it succeeds.

    `apply` carries out a batch in one transaction; `committed` is told of it afterwards. What `before` (the
    flush of another writer) had taken when a batch was put is committed before that batch.
    """

    def __init__(
        self,
        engine: Engine,
        apply: Callable[[Connection, Sequence[Operation]], None],
        committed: Callable[[Sequence[Operation]], None],
        name: str,
        before: Callable[[], Future[None]] | None = None,
    ) -> None:
        self._engine = engine
        self._apply = apply
        self._committed = committed
        self._name = name
        self._before = before
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._queue: list[Operation] = []
        self._future = _running()
        self._in_flight: Sequence[Operation] = ()
        self._flying = _done()
        self.last_error = ""  # why the last try failed; empty when it succeeded
        self._thread = threading.Thread(target=self._run, name=f"{name} writer", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """How many operations are not committed yet."""
        return len(self._queue) + len(self._in_flight)

    def put(
        self, what: Any, row: tuple[Any, ...], *, urgent: bool = False, also: Sequence[Operation] = ()
    ) -> Future[None]:
        """Queue an operation, and those of `also` for the same transaction; the future ends with its commit.

        An urgent one takes all that waits along at once.
        """
        with self._lock:
            if self._stop.is_set():
                raise CannotKeep(f"the {self._name} is closed", "start the node again")
            first = not self._queue
            self._queue += ((what, row), *also)
            future = self._future
        if first:
            self._work.set()
        if urgent:
            self._hurry.set()
        return future

    def flush(self) -> Future[None]:
        """Commit what waits now; the future ends when everything put before is committed."""
        with self._lock:
            future = self._future if self._queue else self._flying
        self._hurry.set()
        return future

    def close(self, seconds: float = 10.0) -> None:
        """Commit what waits and end; raises CannotKeep when that does not succeed in time."""
        with self._lock:
            self._stop.set()
        self._hurry.set()
        self._work.set()
        self._thread.join(seconds)
        if self._thread.is_alive() or self.backlog:
            raise CannotKeep(f"{self.backlog} rows of the {self._name} could not be written: {self.last_error}")

    def _run(self) -> None:
        while True:
            self._work.wait()
            if not self._stop.is_set():
                self._hurry.wait(LINGER)
            with self._lock:
                self._hurry.clear()
                self._work.clear()
                operations, future = self._queue, self._future
                self._in_flight, self._flying = operations, future
                self._queue, self._future = [], _running()
            if operations and not self._persist(operations):
                with self._lock:
                    self._fail(future, self._future)
                return
            self._in_flight = ()
            future.set_result(None)
            if self._stop.is_set() and not self._queue:
                return

    def _fail(self, *futures: Future[None]) -> None:
        for future in futures:
            future.set_exception(CannotKeep(f"the {self._name} could not be written: {self.last_error}"))

    def _persist(self, operations: Sequence[Operation]) -> bool:
        """Commit a batch, however long it takes; False when the writer was closed before it succeeded."""
        wait = FIRST_RETRY
        tries_after_stop = 3
        while True:
            try:
                if self._before is not None:
                    self._before().result(MOST_RETRY)
                with self._engine.begin() as connection:
                    self._apply(connection, operations)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rows must not be lost
                self.last_error = plain(error)
                operations = [(what, tuple(map(_storable, row))) for what, row in operations]
            else:
                self.last_error = ""
                self._committed(self._in_flight)
                return True
            if self._stop.wait(wait):
                tries_after_stop -= 1
                if not tries_after_stop:
                    return False
                threading.Event().wait(wait)
            wait = min(wait * 2, MOST_RETRY)


def _storable(value: Any) -> Any:
    """Text that UTF-8 cannot carry would be refused for ever."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _running() -> Future[None]:
    """A future that its waiters cannot cancel: they share it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future
