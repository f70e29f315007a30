"""What the journal knows of a study's instances as a set: those here, those missing, those that a destination has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Row, Select, Table, select, union

from dicomnode.model import Fate
from dicomnode.store import changes, schema
from dicomnode.store.writer import Writer
from dicomnode.studies import Gap, Here


def _of_study(table: Table, *columns: str) -> Select[Any]:
    """Columns of a study's rows; what is asked of every study is put together once."""
    return select(*(table.c[name] for name in columns)).where(schema.of_study(table))


_CLEAN = _of_study(schema.instance, "instance_key", "received_digest")
_SEALED = _of_study(schema.withheld, "instance_key", "fate")
_SENDERS = select(union(_of_study(schema.instance, "peer"), _of_study(schema.withheld, "peer")).subquery().c.peer)
_LACKING, _MISSING = _of_study(schema.study, "missing"), _of_study(schema.missing, "instance_key")


class Gaps:
    """The part of the journal that is compared with what sources and destinations hold."""

    _writer: Writer
    _all: Callable[..., Sequence[Row[Any]]]
    barred: Callable[[str, str], frozenset[str]]

    def here(self, project: str, study_key: str) -> Here:
        """The keys of the study's instances, by what became of them; held are also those whose segment is gone."""
        by_digest, by_fate = (self._all(each, project=project, study_key=study_key) for each in (_CLEAN, _SEALED))
        held = frozenset(key for key, digest in map(tuple, by_digest) if digest != changes.LOST)
        waiting = frozenset(key for key, fate in map(tuple, by_fate) if not fate)
        discarded = frozenset(key for key, fate in map(tuple, by_fate) if fate and fate != Fate.RELEASED)
        lost = frozenset(key for key, digest in map(tuple, by_digest) if digest == changes.LOST)
        return Here(held, waiting, discarded - held - waiting, lost - held, self.barred(project, study_key))

    def senders(self, project: str, study_key: str) -> set[str]:
        """The peers that instances of the study came from."""
        return {row[0] for row in self._all(_SENDERS, project=project, study_key=study_key)}

    def missing(self, project: str, study_key: str) -> Gap:
        """What the source listed and the study lacked when it was last judged."""
        counted, keys = (self._all(each, project=project, study_key=study_key) for each in (_LACKING, _MISSING))
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
