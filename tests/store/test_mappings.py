"""Given pseudonyms: found per study before any, entered once, contradictions named; and a view for each attribute."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from dicomnode.model import IdentityEntry
from dicomnode.store import mappings
from dicomnode.store.identity import IdentityBook
from dicomnode.store.mappings import Mapping


@pytest.fixture
def book(tmp_path: Path) -> Iterator[IdentityBook]:
    made = IdentityBook.open(tmp_path / "identity.db")
    yield made
    made.close()


def test_a_pair_of_the_study_comes_before_one_for_any(book: IdentityBook) -> None:
    pairs = [
        Mapping("PatientID", "P", "first"),
        Mapping("PatientID", "P", "second", "1.2"),
        Mapping("UID", "1.2", "9.9"),
    ]
    book.mappings.enter("trial", pairs).result()
    table = book.mappings.table("trial")
    assert table.find("PatientID", "P") == "first"
    assert table.find("PatientID", "P", "1.2") == "second"
    assert table.find("PatientID", "P", "1.3") == "first"
    assert table.find("UID", "1.2") == "9.9"
    assert table.find("PatientID", "Q") is None
    assert book.mappings.table("other").find("PatientID", "P") is None
    assert (book.mappings.count("trial"), book.mappings.count("other")) == (3, 0)


@pytest.mark.parametrize("most", [200_000, 1], ids=["held", "looked up"])
def test_a_value_without_a_pair_costs_no_query(book: IdentityBook, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappings, "MOST_HELD", most)
    pairs = [
        Mapping("PatientID", "P", "first"),
        Mapping("PatientID", "P", "second", "1.2"),
        Mapping("PatientID", "Q", "q"),
    ]
    book.mappings.enter("trial", pairs).result()
    table, asked = book.mappings.table("trial"), list[str]()
    event.listen(book._engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
    assert [table.find("UID", f"1.2.{number}", "1.2") for number in range(100)] == [None] * 100
    assert asked == []
    assert [table.find("PatientID", value, "1.2") for value in ("P", "Q", "R")] == ["second", "q", None]
    assert table.find("PatientID", "P", "1.3") == "first"
    assert len(asked) == (0 if most > 1 else 4)
    book.mappings.enter("trial", [Mapping("PatientID", "R", "r")]).result()
    assert book.mappings.table("trial").find("PatientID", "R") == "r"


def test_what_has_its_pseudonym_keeps_it(book: IdentityBook) -> None:
    book.mappings.enter("trial", [Mapping("PatientID", "P", "first")]).result()
    book.mappings.enter("trial", [Mapping("PatientID", "P", "other")]).result()
    assert book.mappings.table("trial").find("PatientID", "P") == "first"


def test_contradictions_are_named_by_number(book: IdentityBook) -> None:
    book.mappings.enter("trial", [Mapping("PatientID", "A", "a")]).result()
    book.put("trial", [IdentityEntry("PatientID", "B", "b")], "study").result()
    said = [
        Mapping("PatientID", "A", "a"),
        Mapping("PatientID", "A", "x"),
        Mapping("PatientID", "B", "y"),
        Mapping("PatientID", "C", "a"),
        Mapping("PatientID", "D", "d"),
        Mapping("PatientID", "E", "d"),
    ]
    assert book.mappings.conflicts("trial", said) == [1, 2, 3, 5]
    assert book.mappings.conflicts("other", said[4:5]) == []


def test_what_identifies_is_looked_for_without_holding_the_whole_book(book: IdentityBook) -> None:
    for first in range(0, 100_000, 2_000):
        entries = [IdentityEntry("PatientID", f"patient number {n:048d}", f"p{n}") for n in range(first, first + 2_000)]
        book.put("trial", entries, "study").result()
    said = [Mapping("PatientID", "Q", f"patient number {99_999:048d}"), Mapping("PatientID", "R", "S")]
    tracemalloc.start()
    wrong = book.mappings.identifying("trial", said)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert wrong == [0]
    assert most < 10 << 20  # the originals alone are more


def test_what_numbers_patients_names_nobody(book: IdentityBook) -> None:
    for attribute, original in (
        *(("PatientName", "TEST^PATIENT"), ("PatientName", "Brain^Ann"), ("AccessionNumber", "12345")),
        ("AccessionNumber", "ACC-00012345"),
    ):
        book.put("trial", [IdentityEntry(attribute, original, "x")], "study").result()
    numbered = [Mapping("PatientID", f"P{n}", f"Patient-{n:03d}") for n in range(3)]
    assert book.mappings.identifying("trial", numbered) == []
    assert book.mappings.identifying("trial", numbered[:2]) == [0, 1]
    said = [
        Mapping("PatientID", "P1", "TRIAL-12345"),
        Mapping("PatientID", "P2", "12345"),
        Mapping("PatientID", "P3", "TRIAL-ACC-00012345"),
        Mapping("PatientID", "70001", "TRIAL-70001"),
        Mapping("PatientID", "P5", "TRIAL-70001x"),
        Mapping("PatientID", "P6", "TRIAL-ann"),
    ]
    assert book.mappings.identifying("trial", said) == [1, 2, 3, 5]


def test_each_attribute_has_a_view(tmp_path: Path, book: IdentityBook) -> None:
    entries = [IdentityEntry("PatientName", "Doe^J", "x"), IdentityEntry("InstitutionName", "Clinic", "y")]
    book.put("trial", entries, "study").result()
    with sqlite3.connect(tmp_path / "identity.db") as connection:
        for view, cleaned, original in (
            ("patientname", "x", "Doe^J"),
            ("patientsname", "x", "Doe^J"),
            ("institutionname", "y", "Clinic"),
        ):
            rows = connection.execute(f"SELECT original FROM {view} WHERE cleaned = '{cleaned}'").fetchall()
            assert rows == [(original,)]
