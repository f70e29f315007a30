"""The identity book: who was who, asked in both directions, also in plain SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.errors import StoreDamaged
from dicomnode.model import IdentityEntry
from dicomnode.store import identity
from dicomnode.store.identity import IdentityBook

JANE = IdentityEntry("PatientID", "4711", "anon1")
JOHN = IdentityEntry("PatientID", "4712", "anon2")
VISIT = IdentityEntry("AccessionNumber", "A-99", "acc1")
STUDY = IdentityEntry("StudyInstanceUID", "1.2.3", "2.25.7")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[IdentityBook]:
    opened = IdentityBook.open(tmp_path / "identity.db")
    yield opened
    opened.close()


def _found(book: IdentityBook, cleaned: str) -> list[tuple[str, IdentityEntry]]:
    return [(project, entry) for project, _, entry in book.originals(cleaned)]


def test_entries_are_found_by_what_was_sent(book: IdentityBook) -> None:
    book.put("trial", [JANE, VISIT], "studya").result()
    book.put("other", [IdentityEntry("PatientID", "0815", "anon1")], "studyb").result()
    assert _found(book, "anon1") == [("trial", JANE), ("other", IdentityEntry("PatientID", "0815", "anon1"))]
    assert _found(book, "acc1") == [("trial", VISIT)]
    assert _found(book, "4711") == []


def test_owner_before_and_after_the_commit(book: IdentityBook, monkeypatch: pytest.MonkeyPatch) -> None:
    assert book.owner("trial", "PatientID", "anon1") is None
    written = book.put("trial", [JANE], "studya")
    assert book.owner("trial", "PatientID", "anon1") == "4711"
    written.result()
    monkeypatch.setattr(book, "_remembered", {})
    assert book._waiting == {}
    assert book.owner("trial", "PatientID", "anon1") == "4711"
    assert book.owner("other", "PatientID", "anon1") is None
    assert book.owner("trial", "AccessionNumber", "anon1") is None


def test_the_first_owner_stays(book: IdentityBook) -> None:
    book.put("trial", [JANE], "studya")
    book.put("trial", [IdentityEntry("PatientID", "9999", "anon1")], "studyb")
    assert book.owner("trial", "PatientID", "anon1") == "4711"
    book.flush().result()
    assert book.owner("trial", "PatientID", "anon1") == "4711"
    assert len(_found(book, "anon1")) == 2


def test_an_entry_is_written_once(book: IdentityBook, monkeypatch: pytest.MonkeyPatch) -> None:
    book.put("trial", [JANE, STUDY], "studya").result()
    for _ in range(10):
        written = book.put("trial", [JANE, STUDY], "studya")
    assert book.backlog == 0
    assert written.done()
    monkeypatch.setattr(identity, "MOST_REMEMBERED", 2)
    book.put("trial", [JOHN], "studyb")
    book.put("trial", [JANE], "studya").result()
    assert len(_found(book, "anon1")) == 1


def test_what_comes_once_is_not_remembered(book: IdentityBook) -> None:
    for number in range(100):
        book.put("trial", [JANE, STUDY, IdentityEntry("SOPInstanceUID", f"1.2.{number}", f"2.25.{number}")], "studya")
    book.flush().result()
    assert len(book._remembered) == 2
    assert _found(book, "2.25.99") == [("trial", IdentityEntry("SOPInstanceUID", "1.2.99", "2.25.99"))]


def test_the_book_answers_plain_sql(tmp_path: Path, book: IdentityBook) -> None:
    book.put("trial", [JANE, JOHN, VISIT, STUDY], "studya").result()
    assert (tmp_path / "identity.db").stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(tmp_path / "identity.db") as connection:
        ask = "select original from {} where cleaned = '{}'"
        for table, entry in (("patient", JOHN), ("accession_no", VISIT), ("studyuid", STUDY)):
            assert connection.execute(ask.format(table, entry.cleaned)).fetchall() == [(entry.original,)]
        assert connection.execute("select cleaned from patient where original = '4711'").fetchall() == [("anon1",)]


def test_a_damaged_book_is_named(tmp_path: Path) -> None:
    (tmp_path / "identity.db").write_bytes(b"no database" * 99)
    with pytest.raises(StoreDamaged, match="site's backup"):
        IdentityBook.open(tmp_path / "identity.db")
