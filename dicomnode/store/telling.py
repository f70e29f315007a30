"""What the journal tells: the events of studies and peers, and which of them nobody else has yet."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Row, Select, false, func, select

from dicomnode.deidentify.encoded import only_standard
from dicomnode.model import Event
from dicomnode.store import changes, schema
from dicomnode.store.writer import Operation, Writer

_UNPUBLISHED = schema.event.c.published == false()


class Telling:
    """The part of the journal that is about events; while `publishing`, those that are entered wait to be published."""

    publishing = False
    _writer: Writer
    _all: Callable[[Select[Any]], Sequence[Row[Any]]]

    def event(self, event: Event) -> Future[None]:
        """Enter an event that changes nothing else."""
        (told,) = self._told(event)
        return self._writer.put(*told)

    def _told(self, event: Event | None) -> Sequence[Operation]:
        if event is None:
            return ()
        facts = {name: fact for name, fact in event.facts.items() if fact not in (None, "")}
        row = (event.at, event.name, event.project, event.study_key, json.dumps(facts))
        return [(changes.enter_events, (*row, False if self.publishing else None))]

    def published(self, numbers: Sequence[int]) -> Future[None]:
        """Somebody else has these events now."""
        rows: list[Operation] = [(changes.mark_published, (number,)) for number in numbers]
        return self._writer.put(*rows[0], urgent=True, also=rows[1:])

    def events(self, project: str, study_key: str) -> list[Event]:
        """A study's events in the order in which they were entered."""
        statement = select(schema.event).where(schema.event.c.project == project, schema.event.c.study_key == study_key)
        return [_event(row) for row in self._all(statement.order_by(schema.event.c.id))]

    def resent(self, project: str, study_key: str, destination: str) -> int:
        """How often in a row what the destination took and did not list has been sent again."""
        times = 0
        for event in self.events(project, study_key):
            if event.name == "study-decided":
                times = 0
            elif event.facts.get("destination") == destination:
                ended = event.name in ("delivery-confirmed", "delivery-failed")
                times = 0 if ended else times + (event.name == "delivery-unconfirmed" and "missing" in event.facts)
        return times

    def unpublished(self, most: int) -> list[tuple[int, Event]]:
        """The oldest events that wait to be published, each with its number."""
        table = schema.event.c
        statement = select(schema.event).where(_UNPUBLISHED).order_by(table.id).limit(most)
        return [(row.id, _event(row)) for row in self._all(statement)]

    def count_unpublished(self) -> int:
        """How many events wait to be published."""
        return int(self._all(select(func.count()).select_from(schema.event).where(_UNPUBLISHED))[0][0])


def _event(row: Row[Any]) -> Event:
    facts = json.loads(row.document)
    if "where" in facts:
        facts["where"] = only_standard(facts["where"])
    return Event(row.name, row.at, row.project, row.study_key, facts)
