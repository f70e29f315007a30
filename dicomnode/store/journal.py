"""The journal: what happened to every instance. Pseudonymous only.

Writes return at once; their future ends when the row is committed. Reads see committed rows, known() also
those that wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import astuple
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from dicomnode.deidentify.encoded import only_standard
from dicomnode.errors import CannotKeep
from dicomnode.model import (
    Delivery,
    DeliveryState,
    Event,
    Fate,
    Instance,
    Location,
    Reason,
    Study,
    StudyState,
    Withheld,
)
from dicomnode.store import changes, schema
from dicomnode.store.barred import Barred
from dicomnode.store.changes import (
    INSTANCE,
    LOCATION,
    OF_WITHHELD,
    WITHHELD,
    instance_row,
    location_row,
    withheld_row,
)
from dicomnode.store.database import open_database, plain
from dicomnode.store.gaps import Gaps
from dicomnode.store.identity import IdentityBook
from dicomnode.store.known import Lookup
from dicomnode.store.telling import Telling
from dicomnode.store.waiting import Waiting, delivered, waiting
from dicomnode.store.writer import Writer, done

UNREADABLE = "look at its disk; if it is damaged, stop the node and move journal.db away: it is made again"
HINT = "move it away: the node writes a new one from the segments and the quarantine"

_STUDY = select(schema.study).where(schema.of_study(schema.study))


class Journal(Telling, Gaps, Barred):
    """The journal of one storage directory; safe for use from several threads.

    Recovery reads only records without a row. So a row is committed after the identity `book` holds what was put
    there before the row was written: put identities first.
    """

    def __init__(self, path: Path, book: IdentityBook | None = None, *, create: bool = True) -> None:
        """Open or create it; raises StoreDamaged, StorageLocked, CannotKeep."""
        self._engine = open_database(path, "journal", schema.JOURNAL_HEAD, HINT, create=create)
        self._lookup = Lookup(self._engine)
        self.known, self.learn = self._lookup.known, self._lookup.learn
        before = book.flush if book else None
        self._book = book
        self._writer = Writer(self._engine, changes.apply, self._lookup.committed, "journal", before)

    @classmethod
    def open(cls, path: Path, book: IdentityBook | None = None, *, create: bool = True) -> Journal:
        """The journal in this file."""
        return cls(path, book, create=create)

    def close(self) -> None:
        """Commit what waits and close; raises CannotKeep when it cannot be written."""
        try:
            self._writer.close()
        finally:
            self._lookup.close()
            self._engine.dispose()

    @property
    def backlog(self) -> int:
        """How many rows wait for their commit."""
        return self._writer.backlog

    @property
    def last_error(self) -> str:
        """Why rows cannot be written now; empty when they can."""
        return self._writer.last_error

    def trouble(self) -> str:
        """What cannot be written now, the identity book or this, and why; empty when both can."""
        if self._book and self._book.last_error:
            return f"the identity book cannot be written: {self._book.last_error}"
        return f"the journal cannot be written: {self.last_error}" if self.last_error else ""

    def stored(self, instance: Instance, location: Location) -> Future[None]:
        """A clean instance is durable; its study is set up with the first one."""
        row = instance_row(instance) + location_row(location)
        self._lookup.stored(row)
        return self._writer.put(changes.enter_instances, row)

    def withheld(self, w: Withheld) -> Future[None]:
        """A sealed original is durable."""
        row = withheld_row(w)
        self._lookup.withheld(row)
        facts = {"instance": w.instance_key, "reason": str(w.reason), "where": w.where}
        event = Event("instance-withheld", w.received_at, w.project, w.study_key, facts)
        return self._writer.put(changes.enter_withheld, row, also=self._told(event))

    def end_withheld(
        self, project: str, quarantine: str, fate: Fate, at: float, event: Event | None = None
    ) -> Future[None]:
        """A withheld original was released or discarded; what is put before it is committed with it or before."""
        row = (project, quarantine, str(fate), at)
        return self._writer.put(changes.end_withheld, row, urgent=True, also=self._told(event))

    def study(
        self,
        project: str,
        study_key: str,
        *,
        state: StudyState | None = None,
        expected: int | None = None,
        evidence: str | None = None,
        at: float | None = None,
        event: Event | None = None,
    ) -> Future[None]:
        """Change what is given of a study; it is set up if need be. `at` is when that happened."""
        told = {"state": state and str(state), "expected": expected, "evidence": evidence}
        given = tuple((name, value) for name, value in told.items() if value is not None)
        row = (project, study_key, at or time.time(), given)
        return self._writer.put(changes.change_study, row, urgent=True, also=self._told(event))

    def delivery(self, d: Delivery, event: Event | None = None) -> Future[None]:
        """Enter or change a delivery."""
        return self._writer.put(changes.enter_deliveries, astuple(d), urgent=True, also=self._told(event))

    def sent(self, project: str, instance_key: str, destination: str, status: int, ok: bool, at: float) -> Future[None]:
        """A destination's final answer to an instance: kept there (`ok`), or refused for good."""
        return self._writer.put(changes.enter_answers, (instance_key, destination, project, status, ok, at))

    def forget_locations(self, project: str, study_key: str, segments: Collection[str]) -> Future[None]:
        """These segments of a study are deleted; its rows stay, without a place."""
        return self._writer.put(changes.forget_locations, (project, study_key, segments), urgent=True)

    def forget_refusals(self, project: str, study_key: str) -> Future[None]:
        """What destinations refused for good of this study is to be sent again."""
        return self._writer.put(changes.forget_refusals, (project, study_key), urgent=True)

    def lose(
        self, project: str, instance_key: str, location: Location | None = None, event: Event | None = None
    ) -> Future[None]:
        """The record of an instance, at this `location` or wherever, is gone or damaged: it is known no more."""
        row = (project, instance_key, location and location.segment, location and location.offset)
        return self._writer.put(changes.lose_instances, row, urgent=True, also=self._told(event))

    def lost(self, project: str, study_key: str) -> set[str]:
        """Keys of the study's instances that were here, are gone, and did not come again."""
        chosen = select(schema.instance.c.instance_key).where(schema.instance.c.received_digest == changes.LOST)
        return {row[0] for row in self._all(chosen.where(_of(schema.instance, project, study_key)))}

    def flush(self) -> Future[None]:
        """Commit all that waits; ends when everything written before is committed."""
        return self._writer.flush()

    def settle(self, project: str, study_key: str) -> Future[None]:
        """Ends when this study's rows are committed, answers and events apart: mostly at once.

        A flush would commit what other studies have waiting, again and again.
        """
        if self._lookup.waits(project, study_key) or any(
            what not in changes.OF_ONE_STUDY or row[:2] == (project, study_key) for what, row in self._writer.urgent()
        ):
            return self.flush()
        return done()

    def _all(self, statement: Select[Any], **values: str) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(statement, values).all()
        except SQLAlchemyError as error:
            raise CannotKeep(f"the journal cannot be read: {plain(error)}", UNREADABLE) from None

    def studies(self, *, project: str | None = None, states: Collection[StudyState] | None = None) -> list[Study]:
        """Studies in order of their first instance."""
        table = schema.study.c
        statement = select(schema.study).order_by(table.first_at)
        if project is not None:
            statement = statement.where(table.project == project)
        if states is not None:
            statement = statement.where(table.state.in_([str(state) for state in states]))
        return [_study(row) for row in self._all(statement)]

    def count_studies(self) -> dict[StudyState, int]:
        """How many studies are in each state; states without any are left out."""
        table = schema.study.c
        rows = self._all(select(table.state, func.count()).group_by(table.state))
        return {StudyState(state): value for state, value in map(tuple, rows)}

    def oldest_studies(self, states: Collection[StudyState]) -> dict[StudyState, float]:
        """When the first instance of the oldest study came, for each of these states that has one."""
        table = schema.study.c
        of_these = table.state.in_([str(state) for state in states])
        rows = self._all(select(table.state, func.min(table.first_at)).where(of_these).group_by(table.state))
        return {StudyState(state): value for state, value in map(tuple, rows)}

    def get_study(self, project: str, study_key: str) -> Study | None:
        """One study, or None."""
        rows = self._all(_STUDY, project=project, study_key=study_key)
        return _study(rows[0]) if rows else None

    def find_study(self, prefix: str) -> list[Study]:
        """Studies whose key or pseudonymous UID begins with `prefix`."""
        table = schema.study.c
        begins = [column.startswith(prefix, autoescape=True) for column in (table.study_key, table.study_uid)]
        return [_study(row) for row in self._all(select(schema.study).where(or_(*begins)).order_by(table.first_at))]

    def instances(self, project: str, study_key: str) -> list[tuple[Instance, Location]]:
        """The study's clean instances that lie in segments, in order of their receipt."""
        return [_placed(row) for row in self._all(_placed_instances(project, study_key))]

    def unsent(self, project: str, study_key: str, destination: str) -> list[tuple[Instance, Location]]:
        """Those of instances() that may go and that the destination has neither taken nor refused for good."""
        chosen = self._unsent(
            project, study_key, destination, *(schema.instance.c[name] for name in INSTANCE + LOCATION)
        )
        return [_placed(row) for row in self._all(chosen.order_by(schema.instance.c.id))]

    def has_unsent(self, project: str, study_key: str, destination: str) -> bool:
        """Whether unsent() has any."""
        return bool(self._all(self._unsent(project, study_key, destination, schema.instance.c.id).limit(1)))

    def _unsent(self, project: str, study_key: str, destination: str, *columns: ColumnElement[Any]) -> Select[Any]:
        table, answer = schema.instance.c, schema.sent.c
        to_study = (answer.instance_key == table.instance_key, answer.project == project)
        answered = select(answer.status).where(*to_study, answer.destination == destination).exists()
        placed = (_of(schema.instance, project, study_key), table.segment.is_not(None))
        return select(*columns).where(*placed, ~answered, ~self._barred_of(project, study_key))

    def answers(self, project: str, study_key: str, destination: str) -> tuple[int, int]:
        """How many of the study's instances the destination has taken, and refused for good."""
        rows = self._all(_ANSWERS, project=project, study_key=study_key, destination=destination)
        counts = {bool(ok): int(count) for ok, count in map(tuple, rows)}
        return counts.get(True, 0), counts.get(False, 0)

    def taken_since(self, project: str, study_key: str, destination: str, at: float) -> tuple[int, float | None]:
        """How many of the study's instances the destination took from then on, and when it took the last of all.

        Seconds since the epoch; None where it has taken nothing.
        """
        table, answer = schema.instance.c, schema.sent.c
        of_study = select(table.instance_key).where(_of(schema.instance, project, study_key))
        to_it = (answer.project == project, answer.destination == destination, answer.ok)
        asked: list[ColumnElement[Any]] = [func.count().filter(answer.at >= at), func.max(answer.at)]
        count, last = tuple(self._all(select(*asked).where(*to_it, answer.instance_key.in_(of_study)))[0])
        return int(count), last

    def deliveries(
        self,
        project: str | None = None,
        states: Collection[DeliveryState] | None = None,
        study_key: str | None = None,
    ) -> list[Delivery]:
        """Deliveries, those to be tried first in front."""
        table = schema.delivery.c
        statement = select(schema.delivery).order_by(table.next_at, table.study_key)
        if project is not None:
            statement = statement.where(table.project == project)
        if study_key is not None:
            statement = statement.where(table.study_key == study_key)
        if states is not None:
            statement = statement.where(table.state.in_([str(state) for state in states]))
        return [Delivery(**{**row._mapping, "state": DeliveryState(row.state)}) for row in self._all(statement)]

    def waiting(self, before: float) -> list[Waiting]:
        """For each destination its undelivered studies whose last instance came `before` (seconds since the epoch)."""
        return [Waiting(*tuple(row)) for row in self._all(waiting(before))]

    def withheld_list(self, project: str | None = None, study_key: str | None = None) -> list[Withheld]:
        """Withheld instances that wait for a person, in order of their receipt."""
        table = schema.withheld.c
        statement = select(*(table[name] for name in WITHHELD)).where(table.fate == "").order_by(table.id)
        if project is not None:
            statement = statement.where(table.project == project)
        if study_key is not None:
            statement = statement.where(table.study_key == study_key)
        return [_withheld(row) for row in self._all(statement)]

    def waiting_copy(self, w: Withheld) -> Withheld | None:
        """Another waiting record of the same original (instance key and digest), committed or not."""
        queued = self._lookup.waiting_withheld(w.project, w.instance_key)
        if queued and queued[OF_WITHHELD.received_digest] == w.received_digest:
            return _withheld(queued)
        table = schema.withheld.c
        like = (table.instance_key == w.instance_key, table.received_digest == w.received_digest)
        chosen = select(*(table[name] for name in WITHHELD)).where(table.project == w.project, table.fate == "", *like)
        rows = self._all(chosen.limit(1))
        return _withheld(rows[0]) if rows else None

    def ended_list(self, project: str | None = None) -> list[tuple[Withheld, Fate, float]]:
        """Withheld instances that wait no longer: what became of each and when, the latest last."""
        table = schema.withheld.c
        statement = select(*(table[name] for name in WITHHELD), table.fate, table.fate_at).where(table.fate != "")
        if project is not None:
            statement = statement.where(table.project == project)
        rows = self._all(statement.order_by(table.fate_at))
        return [(_withheld(row[: len(WITHHELD)]), Fate(row.fate), row.fate_at) for row in rows]

    def segment_offsets(self, project: str | None = None, study_key: str | None = None) -> dict[str, int]:
        """For every segment, or those of one study, the offset up to which there are rows."""
        statement = select(schema.segment)
        if project is not None and study_key is not None:
            folder = f"{project}/{study_key}"
            name = schema.segment.c.name
            statement = statement.where(name > f"{folder}/", name < f"{folder}0")  # "0" follows "/"
        return {row.name: row.extent for row in self._all(statement)}

    def placed_segments(self) -> dict[str, int]:
        """Like segment_offsets, of those segments only in which a row has its place."""
        table = schema.segment
        placed = select(schema.instance.c.id).where(schema.instance.c.segment == table.c.name).exists()
        return {row.name: row.extent for row in self._all(select(table).where(placed))}

    def placed_in(self, segment: str, start: int, end: int) -> list[tuple[Instance, Location, bool]]:
        """What lies in this segment between two offsets, and whether each destination of its study has taken it."""
        row = schema.instance.c
        chosen = select(*(row[name] for name in INSTANCE + LOCATION), delivered())
        there = (row.segment == segment, row.offset < end, row.offset + row.length > start)
        return [(*_placed(found), bool(found[-1])) for found in self._all(chosen.where(*there))]

    def quarantine_ids(self) -> set[str]:
        """The ids of the withheld originals that wait for a person."""
        table = schema.withheld.c
        return {row[0] for row in self._all(select(table.quarantine).where(table.fate == ""))}

    def ended_ids(self) -> dict[str, float]:
        """The ids of those released or discarded, with the time of their receipt."""
        table = schema.withheld.c
        statement = select(table.quarantine, table.received_at).where(table.fate != "")
        return {row.quarantine: row.received_at for row in self._all(statement)}


def _of(table: Any, project: str, study_key: str) -> Any:
    return and_(table.c.study_key == study_key, table.c.project == project)


def _placed_instances(project: str, study_key: str) -> Select[Any]:
    table = schema.instance.c
    columns = (table[name] for name in INSTANCE + LOCATION)
    chosen = select(*columns).where(_of(schema.instance, project, study_key), table.segment.is_not(None))
    return chosen.order_by(table.id)


def _placed(row: Row[Any]) -> tuple[Instance, Location]:
    return Instance(*row[: len(INSTANCE)]), Location(*row[len(INSTANCE) : len(INSTANCE + LOCATION)])


def _withheld(row: Sequence[Any]) -> Withheld:
    told = dict(zip(WITHHELD, row, strict=True))
    return Withheld(**{**told, "reason": Reason(told["reason"]), "where": only_standard(told["where"])})


def _study(row: Row[Any]) -> Study:
    return Study(**{**row._mapping, "state": StudyState(row.state)})


def _answers() -> Select[Any]:
    """How many answers of a kind a destination has given to a study's instances."""
    table, answer = schema.instance.c, schema.sent.c
    of_study = select(table.instance_key).where(schema.of_study(schema.instance))
    to_it = (answer.project == bindparam("project"), answer.destination == bindparam("destination"))
    return select(answer.ok, func.count()).where(*to_it, answer.instance_key.in_(of_study)).group_by(answer.ok)


_ANSWERS = _answers()
