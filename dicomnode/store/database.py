"""Opening a database file: its rights, its settings and its migrations."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, OperationalError

from dicomnode import disk
from dicomnode.errors import CannotKeep, StorageLocked, StoreDamaged
from dicomnode.store import schema, views

BUSY_SECONDS = 5
STATEMENTS = 256  # prepared ones kept by each connection: a writer has one per kind of row and number of rows
SETTINGS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=67108864",
)
TABLES = {"journal": schema.journal, "identity": schema.identity}
REVISION = (
    "CREATE TABLE alembic_version "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def open_database(path: Path, kind: str, head: str, hint: str, *, create: bool = True) -> Engine:
    """Open or `create` a SQLite file (0600) of `kind` (journal or identity) and bring it to revision `head`.

    Raises StoreDamaged with `hint` when it cannot be read or is newer than this program, StorageLocked, CannotKeep.
    """
    if not path.exists():
        if not create:
            raise CannotKeep(f"there is no {path.name} in {path.parent}", "start the node once, it creates one")
        os.close(disk.create(path))
        disk.sync_directory(path.parent)
    url = URL.create("sqlite+pysqlite", database=str(path))
    options = {"timeout": BUSY_SECONDS, "check_same_thread": False, "cached_statements": STATEMENTS}
    engine = create_engine(url, connect_args=options, hide_parameters=True)
    event.listen(engine, "connect", _settle)
    try:
        with engine.connect() as connection:
            if not _make(connection, kind, head) and _revision(connection) != head:
                _upgrade(connection, kind, path.name)
    except DatabaseError as error:
        engine.dispose()
        raise _unusable(error, path.name, hint) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


class Interrupter:
    """Ends what a connection is at, from another thread."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._held: Any = None

    @contextmanager
    def holding(self, connection: Connection) -> Iterator[None]:
        """What the connection does meanwhile can be ended; it then raises a DatabaseError."""
        with self._lock:
            self._held = connection.connection.driver_connection
        try:
            yield
        finally:
            with self._lock:
                self._held = None

    def stop(self) -> None:
        """End what is under way; between two statements nothing is, so it is called again until all has ended."""
        with self._lock:
            self.stopped = True
            if self._held is not None:
                self._held.interrupt()


def examine(path: Path, head: str, hint: str, interrupter: Interrupter | None = None) -> str:
    """Look through a database without changing it, beside whoever has it open; what there is to say.

    Raises StoreDamaged, CannotKeep, also where it was interrupted.
    """
    engine, interrupter = _reading(path), interrupter or Interrupter()
    try:
        with engine.connect() as connection, interrupter.holding(connection):
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if verdict == "ok" and not _holds_tables(connection):
                return f"{path} is empty; the next start makes its tables"
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except DatabaseError as error:
        raise _unusable(error, path.name, hint) from None
    finally:
        engine.dispose()
    if verdict != "ok":
        raise StoreDamaged(f"{path.name} is damaged", f"stop the node, then {hint}")
    size = f"{path}, {path.stat().st_size / (1 << 20):.0f} MiB, sound"
    return size if revision == head else f"{size}; the next start brings it from revision {revision} to {head}"


def newest(journal: Path) -> float:
    """When the last instance came, without changing anything; 0 where the journal cannot say."""
    return float(_told(journal, "SELECT max(last_at) FROM study")[0][0] or 0.0)


def survey(journal: Path) -> dict[str, tuple[int, float]]:
    """By state how many studies there are, and when the first of them began; empty where the journal cannot say."""
    rows = _told(journal, "SELECT state, count(*), min(first_at) FROM study GROUP BY state ORDER BY state")
    return {str(state): (int(count), float(first)) for state, count, first in rows if state}


def has_studies(journal: Path, project: str) -> bool:
    """Whether the journal has a study of the project; no where it cannot say."""
    return (project,) in _told(journal, "SELECT DISTINCT project FROM study")


def originals(journal: Path) -> tuple[int, float]:
    """How many withheld originals wait for a person, and since when the first of them does."""
    count, first = _told(journal, "SELECT count(*), min(received_at) FROM withheld WHERE fate = ''")[0][:2]
    return int(count or 0), float(first or 0.0)


def _told(journal: Path, statement: str) -> list[tuple[Any, ...]]:
    """The rows, without changing anything; one of nothing where the journal cannot say."""
    engine = _reading(journal)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]
    except DatabaseError:
        return [(None, None, None)]
    finally:
        engine.dispose()


def _reading(path: Path) -> Engine:
    url = URL.create("sqlite+pysqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    return create_engine(url, hide_parameters=True)


def _settle(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for setting in SETTINGS:
        cursor.execute(setting)
    cursor.close()


def _make(connection: Connection, kind: str, head: str) -> bool:
    """Fill an empty file with the tables as they are now, which spares a new node the migrations; whether it was."""
    with connection.begin():
        if _holds_tables(connection):
            return False
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if _holds_tables(connection):
            return False
        TABLES[kind].create_all(connection, checkfirst=False)
        if kind == "identity":
            views.create_first(connection)
        connection.exec_driver_sql(REVISION)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (head,))
    return True


def _holds_tables(connection: Connection) -> bool:
    return connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first() is not None


def _revision(connection: Connection) -> str | None:
    with connection.begin():
        if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").first():
            return None
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
        return str(row[0]) if row else None


def _upgrade(connection: Connection, kind: str, name: str) -> None:
    from alembic import command  # slow to import, and needed only when the schema changes
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations" / kind).replace("%", "%%"))
    config.attributes["connection"] = connection
    with connection.begin():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise StoreDamaged(
                f"{name} was written by a newer dicomnode", "install that version, or restore an older copy"
            ) from None


def _unusable(error: DatabaseError, name: str, hint: str) -> StorageLocked | StoreDamaged | CannotKeep:
    told = plain(error)
    if isinstance(error, OperationalError) and "locked" in told:
        return StorageLocked(f"{name} is locked by another process", "stop it and try again")
    if isinstance(error, OperationalError) and "malformed" not in told:
        return CannotKeep(f"{name} cannot be opened: {told}", "check the rights and the space of its directory")
    return StoreDamaged(f"{name} cannot be read: {told}", hint)


def plain(error: BaseException) -> str:
    """The database's own words about an error, without statement and values; otherwise the type's name."""
    cause = getattr(error, "orig", None)
    return str(cause) if isinstance(error, DatabaseError) and cause is not None else type(error).__name__
