"""Pseudonyms that somebody else has given: tables of the site, and the book of a program used before."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row, func, select
from sqlalchemy.exc import SQLAlchemyError

from dicomnode.errors import CannotKeep
from dicomnode.model import JUDGED
from dicomnode.store import schema
from dicomnode.store.database import plain
from dicomnode.store.rows import Insert
from dicomnode.store.writer import Writer

UID = "UID"  # stands for the Study, Series and SOP Instance UIDs, which are one kind
MOST_HELD = 200_000  # pairs of a project that are held in memory
CACHED = 65536
READ_ROWS = 5000
SHORTEST, SHORTEST_NAME = 5, 3  # characters of what identifies, as for the gate
LONG = 8
"""Characters of somebody else's value within a pseudonym: a shorter one may stand there by chance."""
SHARED = 3  # pseudonyms that have a word in common: it numbers patients, as PATIENT-001 does, and names none

_word = re.compile(r"[^\W_]+")
_person = re.compile(r"(Patient|Person|Physicians?|Operators)\w*Names?$")

_mappings = Insert(
    "mapping",
    ("project", "attribute", "original", "study", "cleaned"),
    "ON CONFLICT (project, attribute, original, study) DO NOTHING",
)
_FIND = (
    "SELECT cleaned FROM mapping WHERE project = ? AND attribute = ? AND original = ? AND study IN (?, '') "
    "ORDER BY study DESC LIMIT 1"
)
_SOME = "SELECT attribute, original, study, cleaned FROM mapping WHERE project = ? LIMIT ?"
_ATTRIBUTES = "SELECT DISTINCT attribute FROM mapping WHERE project = ?"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A pair that holds in one study (its original UID), or everywhere; identified."""

    attribute: str
    original: str
    cleaned: str
    study: str = ""


class Mappings:
    """The given pseudonyms of one identity book; safe for use from several threads."""

    def __init__(self, read: Callable[[Executable], Sequence[Row[Any]]], writer: Writer, engine: Engine) -> None:
        self._read = read
        self._writer = writer
        self._engine = engine

    def enter(self, project: str, mappings: Iterable[Mapping]) -> Future[None]:
        """Enter pairs; what has its pseudonym keeps it."""
        rows = [(project, each.attribute, each.original, each.study, each.cleaned) for each in mappings]
        return self._writer.put(_enter, (rows,), urgent=True)

    def count(self, project: str) -> int:
        """How many pairs a project has."""
        counted = select(func.count()).select_from(schema.mapping).where(schema.mapping.c.project == project)
        return int(self._read(counted)[0][0])

    def conflicts(self, project: str, mappings: Sequence[Mapping]) -> list[int]:
        """The numbers of those whose original has another pseudonym already, or whose pseudonym another original."""
        given = self._given(project)
        there = {(a, original): cleaned for a, original, cleaned in given}
        owners = {(a, cleaned): original for a, original, cleaned in given}
        wrong = []
        for number, each in enumerate(mappings):
            before = there.setdefault((each.attribute, each.original), each.cleaned)
            owner = owners.setdefault((each.attribute, each.cleaned), each.original)
            if before != each.cleaned or owner != each.original:
                wrong.append(number)
        return wrong

    def identifying(self, project: str, mappings: Sequence[Mapping]) -> list[int]:
        """The numbers of those not entered yet whose pseudonym holds what identifies somebody, or that name as their
        patient what is somebody's pseudonym: by these pairs, by all that were given, or by the book."""
        table, entry = schema.mapping.c, schema.entry.c
        real = Identifying(each.cleaned for each in mappings)
        pairs = {(project, each.attribute, each.original, each.cleaned) for each in mappings}
        originals = {each.original.casefold() for each in mappings}
        there, taken = set(), set()
        given = select(table.project, table.attribute, table.original, table.cleaned).where(table.attribute != UID)
        for row in self._each(given):
            real.add(row.attribute, row.original)
            there |= {tuple(row)} & pairs
            taken |= {row.cleaned.casefold()} & originals
        booked = select(entry.attribute, entry.original)
        for row in self._each(booked.where(entry.attribute != JUDGED, entry.attribute.not_like("%UID"))):
            real.add(row.attribute, row.original)
        for each in mappings:
            real.add(each.attribute, each.original)
        return [
            number
            for number, each in enumerate(mappings)
            if (project, each.attribute, each.original, each.cleaned) not in there
            and (real.is_in(each.cleaned, each.original) or each.original.casefold() in taken)
        ]

    def _each(self, statement: Executable) -> Iterator[Row[Any]]:
        """The rows of what may be the whole book, a few at a time."""
        try:
            with self._engine.connect() as connection:
                yield from connection.execution_options(yield_per=READ_ROWS).execute(statement)
        except SQLAlchemyError as error:
            raise CannotKeep(f"the identity book cannot be read: {plain(error)}", "look at its disk") from None

    def _given(self, project: str) -> list[tuple[str, str, str]]:
        """Attribute, original and cleaned value of all that holds everywhere or was ever assigned to a patient."""
        table, entry = schema.mapping.c, schema.entry.c
        ours = select(table.attribute, table.original, table.cleaned).where(table.project == project, table.study == "")
        used = select(entry.attribute, entry.original, entry.cleaned).where(
            entry.project == project, entry.attribute == "PatientID"
        )
        return [(row.attribute, row.original, row.cleaned) for found in (ours, used) for row in self._read(found)]

    def table(self, project: str) -> ProjectTable:
        """The pairs of a project, for the engine."""
        return ProjectTable(project, self._engine)


class Identifying:
    """Which of some pseudonyms are, or hold, a value that identifies: case does not count, words are kept whole.

    Patient IDs, other values from SHORTEST characters on and parts of people's names from SHORTEST_NAME on count when
    they are the whole pseudonym; within it the ID of its own patient does, anybody's values from LONG characters on,
    and parts of names, unless SHARED pseudonyms have that word. Of all values only those are held that stand in them.
    """

    def __init__(self, pseudonyms: Iterable[str]) -> None:
        texts = {each.strip().casefold() for each in pseudonyms}
        shared = Counter(word for text in texts for word in set(_word.findall(text)))
        self._shared = {word for word, count in shared.items() if count >= SHARED}
        self._wanted = {run for text in texts for run in _runs(text)}
        self._whole: set[str] = set()
        self._within: set[str] = set()

    def add(self, attribute: str, value: str) -> None:
        """Enter the value of an attribute (its keyword)."""
        if attribute == UID:
            return
        text = value.strip().casefold()
        if text in self._wanted:
            if attribute == "PatientID" or len(text) >= SHORTEST:
                self._whole.add(text)
            if len(text) >= LONG:
                self._within.add(text)
        if _person.search(attribute):
            parts = {part for part in _word.findall(text) if len(part) >= SHORTEST_NAME} & self._wanted
            self._whole |= parts
            self._within |= parts - self._shared

    def is_in(self, pseudonym: str, own: str) -> bool:
        """Whether it is such a value, or words of it in a row are; `own` is the ID of its patient."""
        whole, *runs = _runs(pseudonym)
        return (
            whole in self._whole
            or not self._within.isdisjoint(runs)
            or (len(own) >= SHORTEST and own.strip().casefold() in runs)
        )


def _runs(text: str) -> Iterator[str]:
    """The text, and each run of its words."""
    folded = text.strip().casefold()
    words = [found.span() for found in _word.finditer(folded)]
    yield folded
    yield from (folded[first:end] for n, (first, _) in enumerate(words) for _, end in words[n:])


class ProjectTable:
    """The pairs that a project had when this was made: in memory, and no query for any value.

    Of more than MOST_HELD they are looked up one by one, and remembered; of attributes that have none nothing is.
    """

    def __init__(self, project: str, engine: Engine) -> None:
        """Reads the pairs (blocking). Raises CannotKeep."""
        self._project = project
        self._engine = engine
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str, str], str | None] = {}
        rows = self._rows(_SOME, (project, MOST_HELD + 1))
        self._whole = len(rows) <= MOST_HELD
        self._held = {(row[0], row[1], row[2]): str(row[3]) for row in rows} if self._whole else {}
        self._attributes = {str(row[0]) for row in (rows if self._whole else self._rows(_ATTRIBUTES, (project,)))}

    def find(self, attribute: str, original: str, study: str = "") -> str | None:
        """The pseudonym of a value, in this study before any; None where nobody has given one. Raises CannotKeep."""
        if attribute not in self._attributes:
            return None
        if self._whole:
            held = self._held.get((attribute, original, study))
            return self._held.get((attribute, original, "")) if held is None else held
        key = (attribute, original, study)
        with self._lock:
            if key not in self._found:
                if len(self._found) >= CACHED:
                    self._found.clear()
                found = self._rows(_FIND, (self._project, *key))
                self._found[key] = str(found[0][0]) if found else None
            return self._found[key]

    def _rows(self, statement: str, values: tuple[object, ...]) -> Sequence[Any]:
        try:
            with self._engine.connect() as connection:
                return connection.exec_driver_sql(statement, values).all()
        except SQLAlchemyError as error:
            raise CannotKeep(f"the identity book cannot be read: {plain(error)}", "look at its disk") from None


def _enter(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for (mappings,) in rows:
        _mappings.into(connection, mappings)
