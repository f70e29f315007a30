"""The identity book: original and cleaned values, and what was asked for. Every value in it identifies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Row, select, text
from sqlalchemy.exc import SQLAlchemyError

from dicomnode.errors import CannotKeep
from dicomnode.model import JUDGED, IdentityEntry
from dicomnode.store import schema, views
from dicomnode.store.database import open_database, plain
from dicomnode.store.jobs import Jobs
from dicomnode.store.mappings import Mappings
from dicomnode.store.rows import Insert
from dicomnode.store.writer import Operation, Writer

HINT = "restore it from the site's backup"
MOST_REMEMBERED = 4096
ONCE = frozenset([JUDGED, "SOPInstanceUID"])  # one for each instance: not worth remembering
WHOLE = 1  # the file's user_version once the outbox has been read into it

_entries = Insert(
    "identity",
    ("project", "attribute", "original", "cleaned", "study_key", "first_at"),
    "ON CONFLICT (cleaned, attribute, project, original) DO NOTHING",
)
Place = tuple[str, str, str]  # project, attribute, cleaned value


class IdentityBook:
    """The identity book of one storage directory (file mode 0600); safe for use from several threads."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open or create it; raises StoreDamaged, StorageLocked, CannotKeep."""
        self._engine = open_database(path, "identity", schema.IDENTITY_HEAD, HINT, create=create)
        self._lock = threading.Lock()
        self._remembered: dict[Place, str] = {}
        self._shown: set[str] = set()  # attributes that have a view
        self._waiting: dict[Place, str] = {}
        self._written: Future[None] = Future()
        self._written.set_result(None)
        self._writer = Writer(self._engine, _apply, self._committed, "identity book")
        self.jobs = Jobs(self._all, self._writer)
        self.mappings = Mappings(self._all, self._writer, self._engine)

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> IdentityBook:
        """The identity book in this file."""
        return cls(path, create=create)

    def close(self) -> None:
        """Commit what waits and close; raises CannotKeep when it cannot be written."""
        try:
            self._writer.close()
        finally:
            self._engine.dispose()

    @property
    def backlog(self) -> int:
        """How many lines wait for their commit."""
        return self._writer.backlog

    @property
    def last_error(self) -> str:
        """Why lines cannot be written now; empty when they can."""
        return self._writer.last_error

    @property
    def whole(self) -> bool:
        """False until everything that the outbox has sealed was entered once; a new book is not whole."""
        return bool(self._all(text("PRAGMA user_version"))[0][0] >= WHOLE)

    def set_whole(self) -> None:
        """Everything that the outbox has sealed is committed; raises CannotKeep."""
        self._writer.put(_set_whole, (), urgent=True).result()

    def put(self, project: str, entries: Iterable[IdentityEntry], study_key: str) -> Future[None]:
        """Enter pairs of values; those entered lately are not written again."""
        with self._lock:
            for entry in entries:
                place = (project, entry.attribute, entry.cleaned)
                if self._remembered.get(place) != entry.original:
                    if entry.attribute not in ONCE:
                        self._remember(place, entry.original)
                    self._waiting.setdefault(place, entry.original)
                    if entry.attribute not in self._shown and entry.attribute != JUDGED:
                        self._shown.add(entry.attribute)
                        self._writer.put(_show, (entry.attribute,))
                    row = (project, entry.attribute, entry.original, entry.cleaned, study_key, time.time())
                    self._written = self._writer.put(_enter, row)
            return self._written

    def _remember(self, place: Place, original: str) -> None:
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[place] = original

    def _committed(self, operations: Sequence[Operation]) -> None:
        with self._lock:
            for what, row in operations:
                if what is _enter:
                    self._waiting.pop((row[0], row[1], row[3]), None)

    def flush(self) -> Future[None]:
        """Commit all that waits."""
        return self._writer.flush()

    def owner(self, project: str, attribute: str, cleaned: str) -> str | None:
        """The original that first got this cleaned value, committed or not; None when nobody has it."""
        place = (project, attribute, cleaned)
        with self._lock:
            waiting = self._waiting.get(place)
        table = schema.entry.c
        found = self._all(
            select(table.original)
            .where(table.project == project, table.attribute == attribute, table.cleaned == cleaned)
            .order_by(table.id)
            .limit(1)
        )
        return str(found[0][0]) if found else waiting

    def originals(self, cleaned: str) -> list[tuple[str, str, IdentityEntry]]:
        """Project, study key and entry for every original of a cleaned value."""
        return self._entries(schema.entry.c.cleaned == cleaned)

    def cleaned(self, original: str) -> list[tuple[str, str, IdentityEntry]]:
        """The same for every cleaned value of an original; the whole book is read."""
        return self._entries(schema.entry.c.original == original)

    def _entries(self, named: ColumnElement[bool]) -> list[tuple[str, str, IdentityEntry]]:
        table = schema.entry.c
        rows = self._all(select(schema.entry).where(named, table.attribute != JUDGED).order_by(table.id))
        return [(row.project, row.study_key, IdentityEntry(row.attribute, row.original, row.cleaned)) for row in rows]

    def judged(self, project: str, study_key: str) -> list[str]:
        """What the rules' conditions said last of each instance of a study, as JSON."""
        table = schema.entry.c
        of_study = (table.project == project, table.study_key == study_key, table.attribute == JUDGED)
        rows = self._all(select(table.cleaned, table.original).where(*of_study).order_by(table.id))
        return list(dict(map(tuple, rows)).values())

    def _all(self, statement: Executable) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(statement).all()
        except SQLAlchemyError as error:
            raise CannotKeep(f"the identity book cannot be read: {plain(error)}", "look at its disk") from None


def _enter(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    _entries.into(connection, rows)


def _show(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for (attribute,) in rows:
        views.create(connection, attribute)


def _set_whole(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.exec_driver_sql(f"PRAGMA user_version = {WHOLE}")


def _apply(connection: Connection, operations: Sequence[Operation]) -> None:
    for kind, group in groupby(operations, key=lambda operation: operation[0]):
        kind(connection, [row for _, row in group])
