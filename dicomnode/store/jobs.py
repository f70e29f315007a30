"""Retrievals and their jobs, in the identity book: what is to be fetched, and how far that is.

Nothing of it is held in memory: the next job is one look into an index, however many wait.
"""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Executable, Row, func, insert, select, update

from dicomnode.store import schema
from dicomnode.store.rows import Insert
from dicomnode.store.writer import Writer

ENTERING, ACTIVE, PAUSED, ENDED, CANCELLED = "entering", "active", "paused", "ended", "cancelled"
WAITING, MOVING, RESOLVED = "waiting", "moving", "resolved"
UNDONE = (WAITING, MOVING)
LACKING = ("incomplete", "failed")  # what a run that is restarted fetches again
NOT_FETCHED = ("wrong-modality", "unknown")
FETCHED = (MOVING, "arrived", "incomplete", "failed")  # what counts against a limit of studies
WINDOW = 600.0  # seconds over which the rate is taken


@dataclass(frozen=True, slots=True)
class Line:
    """One thing asked for; identified. `kind` is study, accession or patient; dates are YYYYMMDD."""

    kind: str
    value: str
    patient: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What one command asked for; `most` is 0 where nothing limits it.

    `run` is the folder of the run that it belongs to; its studies are sent no further while it is `held`.
    """

    id: int
    project: str
    source: str
    state: str
    priority: int
    modalities: str
    most: int
    any_time: bool
    run: str
    held: bool
    user: str
    at: float
    ended_at: float | None

    @property
    def go_on(self) -> str:
        """The command that goes on with its run."""
        return f"dicomnode run -r --run {shlex.quote(self.run)}"


@dataclass(frozen=True, slots=True)
class Job:
    """One study, or a line that is not resolved to studies yet; `value`, `patient` and dates identify."""

    id: int
    retrieval: int
    kind: str
    value: str
    patient: str
    since: str
    until: str
    study_key: str
    name: str
    state: str
    attempts: int
    next_at: float
    expected: int | None
    here: int | None
    error: str
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Review:
    """What a reviewer said of a study, which `name` (a pseudonym) names; the comment identifies."""

    name: str
    protocol: bool
    comment: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a retrieval is: jobs by state, instances here, studies per second lately, seconds left or None."""

    states: Mapping[str, int]
    here: int
    rate: float
    left: float | None


_COLUMNS = (
    *("retrieval", "kind", "value", "patient", "since", "until"),
    *("study_key", "name", "state", "attempts", "next_at", "error"),
)
_jobs = Insert(
    "job",
    _COLUMNS,
    "ON CONFLICT (retrieval, kind, value, patient, since, until) DO NOTHING",
)
_reviews = Insert("review", ("retrieval", "name", "protocol", "comment"), "")
_JOB = tuple(field.name for field in fields(Job))
_RETRIEVAL = tuple(field.name for field in fields(Retrieval))


class Jobs:
    """The retrievals of one identity book; safe for use from several threads. Reads raise CannotKeep."""

    def __init__(self, read: Callable[[Executable], Sequence[Row[Any]]], writer: Writer) -> None:
        self._read = read
        self._writer = writer
        self._lock = threading.Lock()
        self._last = int(read(select(func.max(schema.retrieval.c.id)))[0][0] or 0)

    def add(
        self,
        project: str,
        source: str,
        user: str,
        *,
        priority: int = 0,
        modalities: str = "",
        most: int = 0,
        any_time: bool = False,
        run: str = "",
    ) -> int:
        """A new retrieval, to which lines can be entered; its number. It is not worked before `change` says so."""
        with self._lock:
            self._last += 1
            number = self._last
        row = (
            number,
            project,
            source,
            ENTERING,
            priority,
            modalities,
            most,
            any_time,
            run,
            bool(run),
            user,
            time.time(),
            None,
        )
        self._writer.put(_add, row)
        return number

    def enter(self, retrieval: int, lines: Iterable[tuple[Line, str, str]]) -> Future[None]:
        """Jobs to do: what was asked for, the study's key and its pseudonym where it is a study; each once."""
        rows = [
            (retrieval, a.kind, a.value, a.patient, a.since, a.until, key, name, WAITING, 0, 0.0, "")
            for a, key, name in lines
        ]
        return self._writer.put(_enter, (rows,), urgent=True)

    def change(self, retrieval: int, state: str) -> Future[None]:
        """A retrieval goes into a state; with its end, what waits of it ends too."""
        return self._writer.put(_change, (retrieval, state, time.time()), urgent=True)

    def set_priority(self, retrieval: int, priority: int) -> Future[None]:
        """Retrievals of higher priority are worked first."""
        return self._writer.put(_prioritise, (retrieval, priority), urgent=True)

    def due_now(self, retrieval: int) -> Future[None]:
        """What was put off is due."""
        return self._writer.put(_due_now, (retrieval,), urgent=True)

    def release(self, retrieval: int) -> Future[None]:
        """The studies of a run may go on."""
        return self._writer.put(_release, (retrieval,), urgent=True)

    def keep_only(self, retrieval: int, names: Iterable[str]) -> Future[None]:
        """Of the studies that wait, those with these pseudonyms stay wanted."""
        return self._writer.put(_keep_only, (retrieval, frozenset(names), time.time()), urgent=True)

    def again(self, retrieval: int) -> Future[None]:
        """What did not come whole waits again, and is held when it comes; the retrieval is paused until then."""
        return self._writer.put(_again, (retrieval,), urgent=True)

    def review(self, retrieval: int, reviews: Iterable[Review]) -> Future[None]:
        """What reviewers said of studies of a run."""
        rows = [(retrieval, each.name, each.protocol, each.comment) for each in reviews]
        return self._writer.put(_review, (rows,), urgent=True)

    def reviews(self, retrieval: int) -> list[Review]:
        """What reviewers said, in the order of their list."""
        table = schema.review.c
        rows = self._read(select(table.name, table.protocol, table.comment).where(table.retrieval == retrieval))
        return [Review(row.name, bool(row.protocol), row.comment) for row in rows]

    def of_run(self, run: str) -> Retrieval | None:
        """The retrieval of a run, by its folder."""
        rows = self._read(select(schema.retrieval).where(schema.retrieval.c.run == run))
        return Retrieval(*tuple(rows[0])) if rows else None

    def set_job(self, job: int, state: str, **changed: object) -> Future[None]:
        """A job goes into a state; `changed` are other columns."""
        ended = None if state in UNDONE else time.time()
        return self._writer.put(_set_job, (job, {"state": state, "ended_at": ended, **changed}), urgent=True)

    def take_back(self) -> Future[None]:
        """What was being fetched when the node last ended waits again; lists that were never finished are dropped."""
        return self._writer.put(_take_back, (), urgent=True)

    def active(self, source: str | None = None) -> list[Retrieval]:
        """The retrievals to work on, the most urgent first."""
        table = schema.retrieval.c
        chosen = select(schema.retrieval).where(table.state == ACTIVE)
        if source is not None:
            chosen = chosen.where(table.source == source)
        return [Retrieval(*tuple(row)) for row in self._read(chosen.order_by(table.priority.desc(), table.id))]

    def next_job(self, retrieval: int, now: float, longest: float = math.inf) -> Job | None:
        """What is to be done next of a retrieval; those that were put off come when they are due.

        No wait is longer than `longest` seconds: what is due later was put off before the clock was set back.
        """
        table = schema.job.c
        for due in (table.next_at <= now, table.next_at > now + longest):
            waiting = select(schema.job).where(table.retrieval == retrieval, table.state == WAITING, due)
            rows = self._read(waiting.order_by(table.next_at, table.id).limit(1))
            if rows:
                return Job(*tuple(rows[0]))
        return None

    def next_at(self, retrieval: int) -> float | None:
        """When the next job of a retrieval is due (seconds since the epoch); None when none waits."""
        table = schema.job.c
        waiting = select(func.min(table.next_at)).where(table.retrieval == retrieval, table.state == WAITING)
        found = self._read(waiting)[0][0]
        return None if found is None else float(found)

    def retrievals(self, states: Sequence[str] | None = None) -> list[Retrieval]:
        """All of them, or those in these states, the oldest first."""
        chosen = select(schema.retrieval).order_by(schema.retrieval.c.id)
        if states is not None:
            chosen = chosen.where(schema.retrieval.c.state.in_(states))
        return [Retrieval(*tuple(row)) for row in self._read(chosen)]

    def retrieval(self, number: int) -> Retrieval | None:
        """One of them, or None."""
        rows = self._read(select(schema.retrieval).where(schema.retrieval.c.id == number))
        return Retrieval(*tuple(rows[0])) if rows else None

    def counts(self, retrieval: int) -> dict[str, int]:
        """How many jobs are in each state."""
        table = schema.job.c
        rows = self._read(select(table.state, func.count()).where(table.retrieval == retrieval).group_by(table.state))
        return {str(state): int(count) for state, count in map(tuple, rows)}

    def progress(self, retrieval: Retrieval) -> Progress:
        """How far it is, how fast lately and how long it will take at that speed."""
        table, now = schema.job.c, time.time()
        counts = self.counts(retrieval.id)
        here = self._read(select(func.sum(table.here)).where(table.retrieval == retrieval.id))[0][0]
        lately = (table.retrieval == retrieval.id, table.ended_at > now - WINDOW, table.state.in_(FETCHED))
        ended = int(self._read(select(func.count()).where(*lately))[0][0])
        rate = ended / max(1.0, min(WINDOW, now - retrieval.at))
        waiting = sum(counts.get(state, 0) for state in UNDONE)
        return Progress(counts, int(here or 0), rate, waiting / rate if rate and waiting else None)

    def jobs(self, retrieval: int, after: int = 0, most: int = 1000, states: Sequence[str] | None = None) -> list[Job]:
        """The jobs of a retrieval in the order in which they were entered, a page at a time."""
        table = schema.job.c
        chosen = select(schema.job).where(table.retrieval == retrieval, table.id > after)
        if states is not None:
            chosen = chosen.where(table.state.in_(states))
        return [Job(*tuple(row)) for row in self._read(chosen.order_by(table.id).limit(most))]

    def of_study(self, study_key: str) -> list[tuple[Job, Retrieval]]:
        """The jobs that are about a study, with their retrievals."""
        job, retrieval = schema.job.c, schema.retrieval.c
        both = select(*schema.job.columns, *schema.retrieval.columns).where(job.retrieval == retrieval.id)
        rows = self._read(both.where(job.study_key == study_key).order_by(job.id))
        told: list[list[Any]] = [list(row) for row in rows]
        return [(Job(*row[: len(_JOB)]), Retrieval(*row[len(_JOB) :])) for row in told]

    def holding(self, project: str, study_key: str) -> list[Retrieval]:
        """The retrievals of the runs for whose end a study waits."""
        found = [each for job, each in self.of_study(study_key) if job.state != CANCELLED]
        return [each for each in found if each.project == project and each.held]

    def named(self, name: str) -> list[tuple[Job, Retrieval]]:
        """The jobs whose study has this pseudonym or key, with their retrievals."""
        rows = self._read(select(schema.job.c.study_key).where(schema.job.c.name == name).limit(1))
        return self.of_study(str(rows[0].study_key) if rows else name) if name else []

    def arrival(self, place: str) -> tuple[bool, float] | None:
        """Whether what was moved from there to here last came, and when that was."""
        table = schema.arrival.c
        rows = self._read(select(table.ok, table.at).where(table.place == place))
        return (bool(rows[0].ok), float(rows[0].at)) if rows else None

    def set_arrival(self, place: str, ok: bool) -> Future[None]:
        """What was moved from there to here has come now, or has not."""
        return self._writer.put(_set_arrival, (place, ok, time.time()), urgent=True)


def _add(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.execute(insert(schema.retrieval), [dict(zip(_RETRIEVAL, row, strict=True)) for row in rows])


def _enter(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for (jobs,) in rows:
        _jobs.into(connection, jobs)


def _change(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    table, jobs = schema.retrieval, schema.job
    for number, state, at in rows:
        over = state in (ENDED, CANCELLED)
        of = (table.c.id == number, table.c.state.not_in((ENDED, CANCELLED)))
        connection.execute(update(table).where(*of).values(state=state, ended_at=at if over else None))
        if over:
            waiting = (jobs.c.retrieval == number, jobs.c.state == WAITING)
            connection.execute(update(jobs).where(*waiting).values(state=CANCELLED, ended_at=at))


def _due_now(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    table = schema.job.c
    for (number,) in rows:
        waiting = (table.retrieval == number, table.state == WAITING)
        connection.execute(update(schema.job).where(*waiting).values(next_at=0.0))


def _release(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for (number,) in rows:
        connection.execute(update(schema.retrieval).where(schema.retrieval.c.id == number).values(held=False))


def _keep_only(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    table = schema.job
    for number, names, at in rows:
        waiting = select(table.c.id, table.c.name).where(table.c.retrieval == number, table.c.state == WAITING)
        for job, name in connection.execute(waiting).all():
            if name not in names:
                connection.execute(update(table).where(table.c.id == job).values(state=CANCELLED, ended_at=at))


def _again(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    table, jobs = schema.retrieval, schema.job
    for (number,) in rows:
        lacking = (jobs.c.retrieval == number, jobs.c.state.in_(LACKING))
        waiting = {"state": WAITING, "attempts": 0, "next_at": 0.0, "error": "", "ended_at": None}
        if connection.execute(update(jobs).where(*lacking).values(waiting)).rowcount:
            held = {"state": PAUSED, "held": True, "ended_at": None}
            connection.execute(update(table).where(table.c.id == number).values(held))


def _review(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for (reviews,) in rows:
        _reviews.into(connection, reviews)


def _prioritise(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for number, priority in rows:
        connection.execute(update(schema.retrieval).where(schema.retrieval.c.id == number).values(priority=priority))


def _set_job(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for number, changed in rows:
        connection.execute(update(schema.job).where(schema.job.c.id == number).values(changed))


def _take_back(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    table = schema.retrieval
    connection.execute(update(schema.job).where(schema.job.c.state == MOVING).values(state=WAITING))
    connection.execute(update(table).where(table.c.state == ENTERING).values(state=CANCELLED, ended_at=time.time()))


def _set_arrival(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for place, ok, at in rows:
        connection.exec_driver_sql(
            "INSERT INTO arrival (place, ok, at) VALUES (?, ?, ?) "
            "ON CONFLICT (place) DO UPDATE SET ok = excluded.ok, at = excluded.at",
            (place, ok, at),
        )
