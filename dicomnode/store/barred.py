"""Clean instances that stay here because another one of their series or study failed the rules' conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select, true

from dicomnode.model import FAILING, Event, Fate, Reason, Withheld
from dicomnode.store import schema
from dicomnode.store.changes import LOST


def barred() -> ColumnElement[bool]:
    """Of a row of instances: whether a sealed original keeps it back.

    It does so until it is released, or comes again and is accepted; a person who discards it agrees with the rules.
    """
    row, failed, again = schema.instance.c, schema.withheld.c, schema.instance.alias("again")
    accepted = select(again.c.id).where(
        again.c.project == failed.project,
        again.c.instance_key == failed.instance_key,
        again.c.received_digest != LOST,
        again.c.received_at >= failed.received_at,
    )
    wide = or_(
        failed.reason == str(Reason.STUDY_CONDITIONS),
        and_(failed.reason == str(Reason.SERIES_CONDITIONS), failed.series_key == row.series_key),
    )
    keeps_back = select(failed.id).where(
        failed.project == row.project,
        failed.study_key == row.study_key,
        failed.fate != str(Fate.RELEASED),
        wide,
        ~accepted.correlate(schema.withheld).exists(),
    )
    return keeps_back.correlate(schema.instance).exists()


class Barred:
    """The part of the journal that knows what is kept back."""

    _all: Callable[[Select[Any]], Sequence[Row[Any]]]

    def barred(self, project: str, study_key: str) -> frozenset[str]:
        """Keys of the study's clean instances that are kept back."""
        row = schema.instance.c
        chosen = select(row.instance_key).where(row.project == project, row.study_key == study_key, barred())
        return frozenset(key for (key,) in map(tuple, self._all(chosen)))

    def may_go(self, project: str, study_key: str) -> frozenset[str]:
        """SOP Instance UIDs, as sent, of the study's clean instances that are not kept back."""
        row = schema.instance.c
        of_study = (row.project == project, row.study_key == study_key, row.received_digest != LOST)
        return frozenset(uid for (uid,) in map(tuple, self._all(select(row.sop_uid).where(*of_study, ~barred()))))

    def failed_late(self, w: Withheld, under_way: bool = False) -> Event | None:
        """What a person has to know where some of what fails with this original has gone out, or is `under_way`."""
        sent = self._barred_sent(w.project, w.study_key) if w.reason in FAILING and w.study_key else 0
        if not sent and not under_way:
            return None
        facts = {"series": w.series_key, "instance": w.instance_key, "reason": str(w.reason), "sent": sent}
        return Event("conditions-failed-late", time.time(), w.project, w.study_key, facts)

    def _barred_sent(self, project: str, study_key: str) -> int:
        """How many of what is kept back some destination has taken already."""
        row, sent = schema.instance.c, schema.sent.c
        taken = select(sent.at).where(
            sent.project == row.project, sent.instance_key == row.instance_key, sent.ok == true()
        )
        of_study = (row.project == project, row.study_key == study_key, barred(), taken.exists())
        return int(self._all(select(func.count()).select_from(schema.instance).where(*of_study))[0][0])
