"""What the journal knows of a study's instances as a set: those here, those missing, those that a destination has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Row, Select, select, union

from dicomnode.model import Fate
from dicomnode.store import changes, schema
from dicomnode.store.writer import Writer
from dicomnode.studies import Gap, Here


class Gaps:
    """The part of the journal that is compared with what sources and destinations hold."""

    _writer: Writer
    _all: Callable[[Select[Any]], Sequence[Row[Any]]]
    barred: Callable[[str, str], frozenset[str]]

    def here(self, project: str, study_key: str) -> Here:
        """The keys of the study's instances, by what became of them; held are also those whose segment is gone."""
        instance, withheld = schema.instance.c, schema.withheld.c
        clean = select(instance.instance_key, instance.received_digest).where(
            instance.study_key == study_key, instance.project == project
        )
        sealed = select(withheld.instance_key, withheld.fate).where(
            withheld.study_key == study_key, withheld.project == project
        )
        by_digest, by_fate = self._all(clean), self._all(sealed)
        held = frozenset(key for key, digest in map(tuple, by_digest) if digest != changes.LOST)
        waiting = frozenset(key for key, fate in map(tuple, by_fate) if not fate)
        discarded = frozenset(key for key, fate in map(tuple, by_fate) if fate and fate != Fate.RELEASED)
        lost = frozenset(key for key, digest in map(tuple, by_digest) if digest == changes.LOST)
        return Here(held, waiting, discarded - held - waiting, lost - held, self.barred(project, study_key))

    def senders(self, project: str, study_key: str) -> set[str]:
        """The peers that instances of the study came from."""
        tables = (schema.instance.c, schema.withheld.c)
        chosen = union(*(select(t.peer).where(t.study_key == study_key, t.project == project) for t in tables))
        return {row[0] for row in self._all(select(chosen.subquery().c.peer))}

    def missing(self, project: str, study_key: str) -> Gap:
        """What the source listed and the study lacked when it was last judged."""
        study, table = schema.study.c, schema.missing.c
        counted = self._all(select(study.missing).where(study.project == project, study.study_key == study_key))
        keys = self._all(select(table.instance_key).where(table.project == project, table.study_key == study_key))
        return Gap(counted[0][0] if counted else 0, frozenset(row[0] for row in keys))

    def lacks(self, project: str, study_key: str, gap: Gap) -> Future[None]:
        """The study lacks these, or so many, from now on."""
        row = (project, study_key, gap.count, tuple(sorted(gap.keys)))
        return self._writer.put(changes.note_missing, row, urgent=True)

    def taken(self, project: str, study_key: str, destination: str) -> dict[str, str]:
        """SOP Instance UID to key of each instance that the destination has taken; pseudonymous."""
        instance, sent = schema.instance.c, schema.sent.c
        answered = select(instance.sop_uid, instance.instance_key).join(
            schema.sent, (sent.instance_key == instance.instance_key) & (sent.project == instance.project)
        )
        of_study = (instance.study_key == study_key, instance.project == project)
        rows = self._all(answered.where(*of_study, sent.destination == destination, sent.ok))
        return {row.sop_uid: row.instance_key for row in rows}

    def untake(self, project: str, destination: str, instance_keys: Iterable[str]) -> Future[None]:
        """The destination does not have these after all: they are to be sent again."""
        rows = [(changes.forget_taken, (project, destination, key)) for key in instance_keys]
        return self._writer.put(*rows[0], urgent=True, also=rows[1:])
