"""What was done with the instance of a key: committed, or waiting for its commit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from dicomnode.errors import CannotKeep
from dicomnode.store import changes, schema
from dicomnode.store.absent import Absent
from dicomnode.store.changes import OF_INSTANCE, OF_WITHHELD, Columns
from dicomnode.store.writer import Operation

_KNOWN = (
    "SELECT received_digest, 'stored', study_key FROM instance "
    "WHERE instance_key = ? AND project = ? AND received_digest <> '' "
    "UNION ALL "
    "SELECT received_digest, 'withheld', study_key FROM withheld WHERE instance_key = ? AND project = ?"
)

Row = tuple[Any, ...]
Waiting = dict[tuple[str, str], Row]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an instance with the same key: keyed digest of what was received, and what became of it."""

    received_digest: str
    verdict: Literal["stored", "withheld"]
    study_key: str


class Lookup:
    """Every row has to be told of when it is put into the journal, and again when it was committed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stored: Waiting = {}
        self._withheld: Waiting = {}
        self._waiting: Counter[tuple[str, str]] = Counter()  # rows of each study
        self._counting = threading.Lock()
        self._absent = Absent()
        self._reading = threading.Lock()
        self._reader = engine.raw_connection()

    def close(self) -> None:
        """Look up and learn no more."""
        self._absent.stop()
        self._reader.close()

    def stored(self, row: Row) -> None:
        """A row of a clean instance waits for its commit."""
        self._stored[row[OF_INSTANCE.project], row[OF_INSTANCE.instance_key]] = row
        self._count(row, OF_INSTANCE, 1)
        self._absent.add(row[OF_INSTANCE.instance_key])

    def withheld(self, row: Row) -> None:
        """A row of a sealed original waits for its commit."""
        self._withheld[row[OF_WITHHELD.project], row[OF_WITHHELD.instance_key]] = row
        self._count(row, OF_WITHHELD, 1)
        self._absent.add(row[OF_WITHHELD.instance_key])

    def committed(self, operations: Sequence[Operation]) -> None:
        """These do not wait any more."""
        for what, row in operations:
            if what is changes.enter_instances:
                _drop(self._stored, (row[OF_INSTANCE.project], row[OF_INSTANCE.instance_key]), row)
                self._count(row, OF_INSTANCE, -1)
            elif what is changes.enter_withheld:
                _drop(self._withheld, (row[OF_WITHHELD.project], row[OF_WITHHELD.instance_key]), row)
                self._count(row, OF_WITHHELD, -1)

    def _count(self, row: Row, columns: Columns, more: int) -> None:
        key = (row[columns.project], row[columns.study_key])
        with self._counting:
            self._waiting[key] += more
            if not self._waiting[key]:
                del self._waiting[key]

    def waits(self, project: str, study_key: str) -> bool:
        """Whether a row of an instance of this study is not committed yet."""
        return (project, study_key) in self._waiting

    def waiting_withheld(self, project: str, instance_key: str) -> Row | None:
        """The row of a sealed original that is not committed yet."""
        return self._withheld.get((project, instance_key))

    def known(self, project: str, instance_key: str) -> Known | None:
        """What was done with an instance of this key; a stored one comes first. Raises CannotKeep."""
        waiting = self._stored.get((project, instance_key))
        if waiting:
            return Known(waiting[OF_INSTANCE.received_digest], "stored", waiting[OF_INSTANCE.study_key])
        found = self._find(project, instance_key)
        if found is None or found.verdict == "withheld":
            waiting = self._withheld.get((project, instance_key))
            if waiting:
                return Known(waiting[OF_WITHHELD.received_digest], "withheld", waiting[OF_WITHHELD.study_key])
        return found

    def _find(self, project: str, instance_key: str) -> Known | None:
        if not instance_key or self._absent.certain(instance_key):
            return None
        try:
            with self._reading:
                cursor = self._reader.cursor()
                row = cursor.execute(_KNOWN, (instance_key, project, instance_key, project)).fetchone()
                cursor.close()
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise CannotKeep(f"the journal cannot be read: {type(error).__name__}", "look at its disk") from None
        return Known(*row) if row else None

    def learn(self) -> None:
        """Read which keys there are, so that new instances need not be looked up; blocks, with pauses, for seconds.

        From then on nobody else may write to the journal. Where it fails all are looked up, as before.
        """
        if self._absent.stopped:
            return
        try:
            with closing(self._engine.raw_connection()) as connection:
                self._absent.learn(connection, schema.instance.name, schema.withheld.name)
        except (self._engine.dialect.loaded_dbapi.Error, SQLAlchemyError) as error:
            log.info("journal-not-learnt", why=type(error).__name__)


def _drop(waiting: Waiting, key: tuple[str, str], row: Row) -> None:
    if waiting.get(key) is row:
        waiting.pop(key, None)
