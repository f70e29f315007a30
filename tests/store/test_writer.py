"""The writer: order, batches, and failures that it outlives."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kept import instance, location
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, OperationalError
from structlog.testing import capture_logs

from dicomnode.errors import CannotKeep
from dicomnode.model import Event, IdentityEntry
from dicomnode.store import changes, database, writer
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setattr("dicomnode.store.database.BUSY_SECONDS", 0.05)
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


class Batches:
    """Counts the batches of a journal and lets the first ones fail."""

    def __init__(self, journal: Journal, failures: Sequence[Exception] = ()) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self._failures = list(failures)
        journal._writer._apply = self.apply

    def apply(self, connection: Connection, operations: Sequence[tuple[Any, tuple[Any, ...]]]) -> None:
        self.gate.wait(10)
        changes.apply(connection, operations)
        if self._failures:
            raise self._failures.pop(0)
        self.sizes.append(len(operations))


def test_what_waits_together_is_committed_together(journal: Journal) -> None:
    batches = Batches(journal)
    first = journal.stored(instance(0), location(0))
    journal.flush()
    while journal._writer._queue:
        pass
    futures = [journal.stored(instance(number), location(number)) for number in range(1, 200)]
    assert journal.backlog == 200
    batches.gate.set()
    journal.flush().result(10)
    assert first.done()
    assert all(future.done() for future in futures)
    assert batches.sizes == [1, 199]
    assert journal.backlog == 0


def test_nobody_waits_long_for_an_unhurried_commit(journal: Journal) -> None:
    assert writer.LINGER <= 0.1
    journal.stored(instance(), location()).result(5)


def test_flushing_nothing_is_done_at_once(journal: Journal) -> None:
    assert journal.flush().result(5) is None


def failure(text: str) -> OperationalError:
    return OperationalError("INSERT", (), sqlite3.OperationalError(text))


@pytest.mark.parametrize(
    "error", [failure("disk I/O error"), failure("database or disk is full"), OverflowError("too large"), MemoryError()]
)
def test_a_failed_batch_is_tried_again_whole(journal: Journal, error: Exception) -> None:
    batches = Batches(journal, [error, error])
    batches.gate.set()
    for number in range(5):
        journal.stored(instance(number), location(number))
    journal.flush().result(10)
    study = journal.get_study("trial", "studya")
    assert study is not None
    assert study.stored == 5, "what the failed tries did was rolled back"
    assert journal.last_error == ""


def test_a_locked_database_is_waited_for(tmp_path: Path, journal: Journal) -> None:
    with sqlite3.connect(tmp_path / "journal.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        futures = [journal.stored(instance(number), location(number)) for number in range(3)]
        journal.flush()
        with pytest.raises(TimeoutError):
            futures[0].result(0.4)
        assert journal.last_error == "database is locked"
        futures.append(journal.stored(instance(3), location(3)))
        assert journal.backlog == 4
        assert journal.known("trial", "instance3") is not None
        other.execute("ROLLBACK")
    for future in futures:
        future.result(10)
    assert journal.last_error == ""
    assert len(journal.instances("trial", "studya")) == 4


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "SETTINGS", (*database.SETTINGS, "PRAGMA max_page_count=40"))
        journal = Journal.open(tmp_path / "journal.db")
        futures = [journal.stored(instance(number), location(number)) for number in range(1000)]
        journal.flush()
        with pytest.raises(TimeoutError):
            futures[-1].result(0.3)
        assert journal.last_error == "database or disk is full"
        assert journal.backlog == 1000
        assert journal.known("trial", "instance999") is not None
    journal._engine.dispose()
    futures[-1].result(10)
    study = journal.get_study("trial", "studya")
    assert study is not None
    assert study.stored == 1000
    journal.close()


def test_text_that_cannot_be_stored_stops_nothing(journal: Journal) -> None:
    journal.event(Event("odd", 1.0, "trial", "bad\udcff"))
    journal.stored(instance(), location())
    journal.flush().result(10)
    assert len(journal.instances("trial", "studya")) == 1
    assert journal.events("trial", "bad\\udcff") == [Event("odd", 1.0, "trial", "bad\\udcff")]


def test_a_row_that_is_never_taken_holds_up_no_other(journal: Journal) -> None:
    gate = Batches(journal)
    journal.flush()
    with capture_logs() as logs:
        before = journal.stored(instance(0), location(0))
        bad = journal.study("trial", "studya", expected=10**20, event=Event("odd", 1.0, "trial", "studya"))
        after = journal.study("trial", "studya", evidence="enough")
        gate.gate.set()
        with pytest.raises(OverflowError):
            bad.result(10)
        before.result(10)
        after.result(10)
    assert [(line["event"], line["kind"], line["error"]) for line in logs] == [
        ("row-refused", "change-study", "OverflowError")
    ]
    study = journal.get_study("trial", "studya")
    assert study is not None
    assert (study.stored, study.expected, study.evidence) == (1, None, "enough")
    assert journal.events("trial", "studya") == [], "what belongs to the row goes with it"
    assert journal.last_error == ""
    assert journal.backlog == 0
    journal.stored(instance(1), location(1)).result(10)


def test_a_damaged_database_refuses_no_row(journal: Journal) -> None:
    """It is the file that is at fault: rows wait."""
    malformed = DatabaseError("INSERT", (), sqlite3.DatabaseError("database disk image is malformed"))
    batches = Batches(journal, [malformed] * 4)
    batches.gate.set()
    journal.study("trial", "studya", evidence="enough").result(10)
    assert journal.get_study("trial", "studya") is not None


def test_a_disk_that_fills_up_amid_the_rows_loses_none(journal: Journal) -> None:
    """The batch is entered one by one because of a bad row when the disk fails: all of it is tried again."""
    refused, full = OverflowError("too large"), failure("database or disk is full")
    batches = Batches(journal, [refused, refused, full])
    rows = [journal.stored(instance(number), location(number)) for number in range(5)]
    bad = journal.study("trial", "studya", expected=10**20)
    batches.gate.set()
    with pytest.raises(OverflowError):
        bad.result(10)
    for row in rows:
        row.result(10)
    study = journal.get_study("trial", "studya")
    assert study is not None
    assert study.stored == 5


def test_a_row_waits_for_the_identities_put_before_it(tmp_path: Path) -> None:
    """Otherwise a power cut between the two commits loses them: recovery passes over records that have a row."""
    book = IdentityBook.open(tmp_path / "identity.db")
    journal = Journal.open(tmp_path / "journal.db", book)
    gate, write = threading.Event(), book._writer._apply

    def held(connection: Connection, operations: Sequence[tuple[Any, tuple[Any, ...]]]) -> None:
        gate.wait(10)
        write(connection, operations)

    book._writer._apply = held
    entered = book.put("trial", [IdentityEntry("PatientID", "4711", "anon1")], "studya")
    stored = journal.stored(instance(), location())
    journal.flush()
    with pytest.raises(TimeoutError):
        stored.result(0.3)
    assert not entered.done()
    gate.set()
    stored.result(10)
    assert entered.done()
    journal.close()
    book.close()


def test_closing_tells_what_could_not_be_written(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.db")
    batches = Batches(journal, [failure("disk I/O error")] * 50)
    batches.gate.set()
    future = journal.stored(instance(), location())
    with pytest.raises(CannotKeep, match="1 rows of the journal could not be written: disk I/O error"):
        journal.close()
    with pytest.raises(CannotKeep):
        future.result(5)


async def test_a_cancelled_waiter_harms_no_other(journal: Journal) -> None:
    batches = Batches(journal)
    first = asyncio.wrap_future(journal.stored(instance(0), location(0)))
    second = asyncio.wrap_future(journal.stored(instance(1), location(1)))
    first.cancel()
    batches.gate.set()
    await asyncio.wait_for(second, 10)
    assert len(journal.instances("trial", "studya")) == 2


def test_many_threads_write_and_read(journal: Journal) -> None:
    def work(thread: int) -> None:
        for number in range(thread * 1000, thread * 1000 + 100):
            journal.stored(instance(number, study=f"study{thread}"), location(number))
            assert journal.known("trial", f"instance{number}") is not None
            if number % 25 == 0:
                journal.flush().result(10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    journal.flush().result(10)
    assert [study.stored for study in journal.studies()] == [100] * 4
