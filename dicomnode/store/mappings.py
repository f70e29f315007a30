"""Pseudonyms that somebody else has given: tables of the site, and the book of a program used before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row, func, select
from sqlalchemy.exc import SQLAlchemyError

from dicomnode.errors import CannotKeep
from dicomnode.store import schema
from dicomnode.store.database import plain
from dicomnode.store.rows import Insert
from dicomnode.store.writer import Writer

UID = "UID"  # stands for the Study, Series and SOP Instance UIDs, which are one kind
MOST_HELD = 200_000  # pairs of a project that are held in memory
CACHED = 65536

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
