"""What can be written to the journal: each function takes a connection and the rows of one kind.

Entering a row twice changes nothing: after a crash, rows are entered again from the segments and the quarantine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, delete, false, select, update

from dicomnode.model import Delivery, Fate, Instance, Location, Study, StudyState, Withheld
from dicomnode.store import schema
from dicomnode.store.rows import Insert
from dicomnode.studies import REOPENED, SENT_ONCE

LOST = ""  # stands for the received digest of an instance whose record is gone
_FOUND_AGAIN = (
    "DELETE FROM instance "
    "WHERE instance_key IN (SELECT value FROM json_each(?)) AND project = ? AND received_digest = ?"
)
_FIRST_STATE = str(StudyState.RECEIVING)

Rows = Sequence[tuple[Any, ...]]


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


INSTANCE, LOCATION, WITHHELD = _names(Instance), _names(Location), _names(Withheld)
instance_row = attrgetter(*INSTANCE)
location_row = attrgetter(*LOCATION)
withheld_row = attrgetter(*WITHHELD)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the columns that instances and withheld ones share stand in a row."""

    project: int
    study_key: int
    instance_key: int
    study_uid: int
    received_digest: int
    received_at: int

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Columns:
        return cls(*(names.index(name) for name in _names(cls)))


OF_INSTANCE, OF_WITHHELD = Columns.of(INSTANCE), Columns.of(WITHHELD)
_PATIENT = INSTANCE.index("patient")
_SEGMENT, _OFFSET, _LENGTH = (len(INSTANCE) + LOCATION.index(name) for name in ("segment", "offset", "length"))

_OF_STUDY = ("project", "study_key")
_instances = Insert("instance", INSTANCE + LOCATION, "ON CONFLICT (segment, offset) DO NOTHING", _OF_STUDY)
# The same original again: a row that waits stays as it is, one that had its fate waits again.
_withheld = Insert(
    "withheld",
    WITHHELD,
    "ON CONFLICT (project, quarantine) DO UPDATE SET fate = '', fate_at = NULL, "
    + ", ".join(f'"{name}" = excluded."{name}"' for name in WITHHELD if name not in ("project", "quarantine"))
    + " WHERE withheld.fate <> ''",
    _OF_STUDY,
)
_events = Insert("event", ("at", "name", "project", "study_key", "document", "published"), "")
_segments = Insert(
    "segment",
    ("name", "extent"),
    "ON CONFLICT (name) DO UPDATE SET extent = excluded.extent WHERE excluded.extent > segment.extent",
)
_answers = Insert(
    "sent",
    ("instance_key", "destination", "project", "status", "ok", "at"),
    "ON CONFLICT (instance_key, destination, project) DO UPDATE "
    "SET status = excluded.status, ok = excluded.ok, at = excluded.at",
)
_deliveries = Insert(
    "delivery",
    _names(Delivery),
    "ON CONFLICT (project, study_key, destination) DO UPDATE SET state = excluded.state, "
    "attempts = excluded.attempts, next_at = excluded.next_at, error = excluded.error, "
    "sent = excluded.sent, failed = excluded.failed",
)
_missing = Insert("missing", ("project", "study_key", "instance_key"), "")
_reopened, _sent_once = (", ".join(f"'{state}'" for state in sorted(states)) for states in (REOPENED, SENT_ONCE))
_new_studies = Insert("study", _names(Study), "ON CONFLICT (project, study_key) DO NOTHING")
_studies = Insert(
    "study",
    _names(Study),
    "ON CONFLICT (project, study_key) DO UPDATE SET "
    # A late instance and the state that it brings its study into are committed together, or neither.
    f"state = CASE WHEN excluded.stored > 0 AND study.state IN ({_reopened}) "
    f"THEN '{_FIRST_STATE}' ELSE study.state END, "
    f"amended = CASE WHEN excluded.stored > 0 AND study.state IN ({_sent_once}) THEN 1 ELSE study.amended END, "
    "stored = study.stored + excluded.stored, withheld = study.withheld + excluded.withheld, "
    "study_uid = CASE study.study_uid WHEN '' THEN excluded.study_uid ELSE study.study_uid END, "
    "patient = CASE study.patient WHEN '' THEN excluded.patient ELSE study.patient END, "
    "first_at = CASE WHEN excluded.first_at < study.first_at THEN excluded.first_at ELSE study.first_at END, "
    "last_at = CASE WHEN excluded.last_at > study.last_at THEN excluded.last_at ELSE study.last_at END",
)


def apply(connection: Connection, operations: Sequence[tuple[Any, tuple[Any, ...]]]) -> None:
    """Carry out a batch. Rows of one kind go together; only those of IN_PLACE keep their place among them."""
    kinds: dict[Callable[[Connection, Rows], object], list[tuple[Any, ...]]] = {}
    for what, row in operations:
        if what in IN_PLACE:
            _carry_out(connection, kinds)
            kinds = {}
        kinds.setdefault(what, []).append(row)
    _carry_out(connection, kinds)


def _carry_out(
    connection: Connection, kinds: dict[Callable[[Connection, Rows], object], list[tuple[Any, ...]]]
) -> None:
    for enter, rows in kinds.items():
        enter(connection, rows)


def enter_instances(connection: Connection, rows: Rows) -> None:
    """Rows of Instance and Location; studies are set up and counted, segments extended."""
    _found_again(connection, rows)
    new = Counter(_instances.entered(connection, rows))
    _count(connection, rows, OF_INSTANCE, lambda key, row: (row[_PATIENT], new[key], 0))
    _segments.into(connection, list({row[_SEGMENT]: row[_OFFSET] + row[_LENGTH] for row in rows}.items()))


def enter_withheld(connection: Connection, rows: Rows) -> None:
    """Rows of Withheld; their studies, where known, are set up and counted."""
    new = Counter(_withheld.entered(connection, rows))
    of_studies = [row for row in rows if row[OF_WITHHELD.study_key]]
    _count(connection, of_studies, OF_WITHHELD, lambda key, row: ("", 0, new[key]))


def enter_answers(connection: Connection, rows: Rows) -> None:
    """Rows of the table sent."""
    _answers.into(connection, _last_of_each(rows))


def enter_events(connection: Connection, rows: Rows) -> None:
    """Rows of the table event, without its id."""
    _events.into(connection, rows)


def mark_published(connection: Connection, rows: Rows) -> None:
    """Rows (event id,)."""
    table = schema.event
    connection.execute(update(table).where(table.c.id.in_([row[0] for row in rows])).values(published=True))


def enter_deliveries(connection: Connection, rows: Rows) -> None:
    """Rows of Delivery."""
    _deliveries.into(connection, _last_of_each(rows))


def change_study(connection: Connection, rows: Rows) -> None:
    """Rows (project, study key, time, changes as pairs of column and value)."""
    table = schema.study
    for project, study_key, at, changes in rows:
        told = dict(changes)
        _new_studies.into(connection, [(project, study_key, "", "", _FIRST_STATE, 0, 0, None, "", False, at, at, 0)])
        if told:
            of = (table.c.project == project, table.c.study_key == study_key)
            connection.execute(update(table).where(*of).values(told))


def note_missing(connection: Connection, rows: Rows) -> None:
    """Rows (project, study key, how many, keys of the instances as far as they are known)."""
    table, study = schema.missing, schema.study
    for project, study_key, count, keys in rows:
        connection.execute(delete(table).where(table.c.project == project, table.c.study_key == study_key))
        _missing.into(connection, [(project, study_key, key) for key in keys])
        of_study = (study.c.project == project, study.c.study_key == study_key)
        connection.execute(update(study).where(*of_study).values(missing=count))


def forget_taken(connection: Connection, rows: Rows) -> None:
    """Rows (project, destination, instance key): the destination does not have it after all."""
    table = schema.sent.c
    for project, destination, key in rows:
        of = (table.project == project, table.destination == destination, table.instance_key == key)
        connection.execute(delete(schema.sent).where(*of))


def forget_refusals(connection: Connection, rows: Rows) -> None:
    """Rows (project, study key): what destinations refused for good is to be sent again."""
    sent, table = schema.sent, schema.instance
    for project, study_key in rows:
        keys = select(table.c.instance_key).where(table.c.project == project, table.c.study_key == study_key)
        refused = (sent.c.project == project, sent.c.ok == false(), sent.c.instance_key.in_(keys))
        connection.execute(delete(sent).where(*refused))


def forget_locations(connection: Connection, rows: Rows) -> None:
    """Rows (project, study key, names of the segments that are gone)."""
    table = schema.instance
    for project, study_key, segments in rows:
        of = (table.c.project == project, table.c.study_key == study_key, table.c.segment.in_(segments))
        connection.execute(update(table).where(*of).values(dict.fromkeys(LOCATION)))


def lose_instances(connection: Connection, rows: Rows) -> None:
    """Rows (project, instance key, segment, offset): the record there is gone; without a segment, wherever.

    A lost row has neither a place nor a digest; it goes when the instance comes again.
    """
    table, study = schema.instance, schema.study
    for project, instance_key, segment, offset in rows:
        of = [table.c.project == project, table.c.instance_key == instance_key, table.c.segment.is_not(None)]
        if segment is not None:
            of += [table.c.segment == segment, table.c.offset == offset]
        nothing = {**dict.fromkeys(LOCATION), "received_digest": LOST}
        lost = connection.execute(update(table).where(*of).values(nothing).returning(table.c.study_key)).all()
        for (study_key,) in lost:
            of_study = (study.c.project == project, study.c.study_key == study_key)
            connection.execute(update(study).where(*of_study).values(stored=study.c.stored - 1))


def _found_again(connection: Connection, rows: Rows) -> None:
    """Rows of Instance and Location: those that were lost are here again."""
    by_project: dict[str, list[str]] = {}
    for row in rows:
        by_project.setdefault(row[OF_INSTANCE.project], []).append(row[OF_INSTANCE.instance_key])
    for project, keys in by_project.items():
        connection.exec_driver_sql(_FOUND_AGAIN, (json.dumps(keys), project, LOST))


def end_withheld(connection: Connection, rows: Rows) -> None:
    """Rows (project, quarantine id, fate, time): the original waits no longer, its study counts one less."""
    table, study = schema.withheld, schema.study
    for project, quarantine, fate, at in rows:
        of = (table.c.project == project, table.c.quarantine == quarantine, table.c.fate == "")
        ended = update(table).where(*of).values(fate=fate, fate_at=at).returning(table.c.study_key)
        for (study_key,) in connection.execute(ended).all():
            of_study = (study.c.project == project, study.c.study_key == study_key)
            connection.execute(update(study).where(*of_study).values(withheld=study.c.withheld - 1))
        if fate in (Fate.DISCARDED_ALONE, Fate.DISCARDED_WITH_OTHERS):  # a second thought about one discarded before
            before = (table.c.project == project, table.c.quarantine == quarantine, table.c.fate == Fate.DISCARDED)
            connection.execute(update(table).where(*before).values(fate=fate, fate_at=at))


OF_ONE_STUDY = (enter_events, enter_deliveries, change_study, note_missing, forget_refusals, forget_locations)
"""Their rows begin with project and study key, or matter to no study."""
IN_PLACE = (change_study, forget_locations, forget_refusals, forget_taken, end_withheld, note_missing)


def _count(
    connection: Connection,
    rows: Rows,
    columns: Columns,
    told: Callable[[tuple[str, str], tuple[Any, ...]], tuple[str, int, int]],
) -> None:
    """Add to the counters of the studies of these rows, which are set up if they are not there.

    `told` gives a study's patient and how many are stored and withheld more, from its key and its first row.
    """
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        groups.setdefault((row[columns.project], row[columns.study_key]), []).append(row)
    studies = []
    for key, group in groups.items():
        patient, stored, withheld = told(key, group[0])
        times = [row[columns.received_at] for row in group]
        counted = (patient, _FIRST_STATE, stored, withheld, None, "", False, min(times), max(times), 0)
        studies.append((*key, group[0][columns.study_uid], *counted))
    _studies.into(connection, studies)


def _last_of_each(rows: Rows) -> Rows:
    """Of rows with the same key (the first three columns) the last one."""
    return list({row[:3]: row for row in rows}.values())
