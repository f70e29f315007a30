"""One thread that writes for all callers: what waits together is committed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError

from dicomnode.disk import ASKED, TROUBLE
from dicomnode.errors import CannotKeep
from dicomnode.store.database import plain

Operation = tuple[Any, tuple[Any, ...]]  # what to do, and its row

log = structlog.get_logger()

LINGER = 0.1  # seconds that a batch nobody hurries may gather
FIRST_RETRY = 0.05
MOST_RETRY = 2.0
TOLD_AFTER = 5  # tries in vain, about a second: then the log says so, once
PASSING = (OperationalError, InternalError, CannotKeep, OSError, MemoryError)  # what fails so may succeed as it is


@dataclass(frozen=True, slots=True)
class Put:
    """What was put at once; `future` is its own, or None where it ends with the batch."""

    operations: Sequence[Operation]
    future: Future[None] | None


class Writer:
    """Queues operations and commits them in order, in batches; a batch that fails is tried again until it succeeds.

    What the database refuses for good is set aside and logged, so that it holds up no other.

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
        self._queue: list[Put] = []
        self._future = _running()
        self._in_flight: Sequence[Put] = ()
        self._flying = done()
        self.last_error = ""  # why the last try failed; empty when it succeeded
        self._thread = threading.Thread(target=self._run, name=f"{name} writer", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """How many times something was put that is not committed yet."""
        return len(self._queue) + len(self._in_flight)

    def urgent(self) -> list[Operation]:
        """What is urgent and waits for its commit."""
        with self._lock:
            waiting = [put for put in (*self._queue, *self._in_flight) if put.future is not None]
        return _flat(waiting)

    def put(
        self, what: Any, row: tuple[Any, ...], *, urgent: bool = False, also: Sequence[Operation] = ()
    ) -> Future[None]:
        """Queue an operation, and those of `also` for the same transaction; the future ends with its commit.

        An urgent one takes all that waits along at once; its future tells when it is refused.
        """
        put = Put(((what, row), *also), _running() if urgent else None)
        with self._lock:
            if self._stop.is_set():
                raise CannotKeep(f"the {self._name} is closed", "start the node again")
            first = not self._queue
            self._queue.append(put)
            future = put.future or self._future
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
            rows = f"{self.backlog} rows of the {self._name}"
            raise CannotKeep(f"{rows} could not be written: {self.last_error}", ASKED)

    def _run(self) -> None:
        while True:
            self._work.wait()
            if not self._stop.is_set():
                self._hurry.wait(LINGER)
            with self._lock:
                self._hurry.clear()
                self._work.clear()
                batch, future = self._queue, self._future
                self._in_flight, self._flying = batch, future
                self._queue, self._future = [], _running()
            refused = self._persist(batch) if batch else {}
            if refused is None:
                with self._lock:
                    self._fail(future, self._future, *_own([*batch, *self._queue]))
                return
            self._in_flight = ()
            _resolve(batch, refused)
            future.set_result(None)
            if self._stop.is_set() and not self._queue:
                return

    def _fail(self, *futures: Future[None]) -> None:
        for future in futures:
            future.set_exception(CannotKeep(f"the {self._name} could not be written: {self.last_error}"))

    def _persist(self, batch: Sequence[Put]) -> dict[int, Exception] | None:
        """Commit a batch, however long it takes; what was refused for good, by its number in the batch.

        None when the writer was closed before it succeeded.
        """
        wait, failures, tries_after_stop = FIRST_RETRY, 0, 3
        given = batch
        for tries in count(1):
            try:
                if self._before is not None:
                    self._before().result(MOST_RETRY)
                refused = self._commit_each(batch) if failures > 1 else self._commit(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rows must not be lost
                self._note(error, tries)
                failures += not _passing(error)
                batch = [
                    Put([(what, tuple(map(_storable, row))) for what, row in put.operations], put.future)
                    for put in batch
                ]
            else:
                self.last_error = ""
                self._committed(_flat(given))
                return refused
            if self._stop.wait(wait):
                tries_after_stop -= 1
                if not tries_after_stop:
                    return None
                threading.Event().wait(wait)
            wait = min(wait * 2, MOST_RETRY)
        return None

    def _note(self, error: Exception, tries: int) -> None:
        """Only a wait for the writer that comes first ends with a TimeoutError."""
        waits = "it waits for the identity book"
        self.last_error = waits if isinstance(error, TimeoutError) else plain(error)
        if tries == TOLD_AFTER:
            log.error("storage-troubled", error=f"the {self._name} cannot be written: {self.last_error}; {TROUBLE}")

    def _commit(self, batch: Sequence[Put]) -> dict[int, Exception]:
        with self._engine.begin() as connection:
            self._apply(connection, _flat(batch))
        return {}

    def _commit_each(self, batch: Sequence[Put]) -> dict[int, Exception]:
        """One by one in one transaction, without those that the database refuses; tells of these."""
        refused: dict[int, Exception] = {}
        with self._engine.begin() as connection:
            connection.exec_driver_sql("BEGIN")  # the driver begins none before a savepoint
            for number, put in enumerate(batch):
                try:
                    with connection.begin_nested():
                        self._apply(connection, put.operations)
                except Exception as error:
                    if _passing(error):
                        raise
                    refused[number] = error
        for number, why in refused.items():
            name = batch[number].operations[0][0].__name__.strip("_").replace("_", "-")
            log.error("row-refused", kind=name, error=type(why).__name__)
        return refused


def _passing(error: Exception) -> bool:
    """Whether it is the database that fails, not the row; one that is damaged has a type of its own."""
    return isinstance(error, PASSING) or type(error) is DatabaseError


def _flat(batch: Sequence[Put]) -> list[Operation]:
    return [operation for put in batch for operation in put.operations]


def _own(batch: Sequence[Put]) -> list[Future[None]]:
    return [put.future for put in batch if put.future is not None]


def _resolve(batch: Sequence[Put], refused: dict[int, Exception]) -> None:
    for number, put in enumerate(batch):
        if put.future is None:
            continue
        if number in refused:
            put.future.set_exception(refused[number])
        else:
            put.future.set_result(None)


def _storable(value: Any) -> Any:
    """Text that UTF-8 cannot carry would be refused for ever."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _running() -> Future[None]:
    """A future that its waiters cannot cancel: they share it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def done() -> Future[None]:
    """A future that has ended."""
    future: Future[None] = Future()
    future.set_result(None)
    return future
