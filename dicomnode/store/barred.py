"""Clean instances that stay here because another one of their series or study failed the rules' conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, false, func, or_, select, true

from dicomnode.model import FAILING, Event, Fate, Reason, Withheld
from dicomnode.store import schema
from dicomnode.store.changes import LOST

NONE = false()


def barred() -> ColumnElement[bool]:
    """Of a row of instances: whether a sealed original keeps it back.

    It does so until it is released, or comes again and is accepted; a person who discards it agrees with the rules,
    unless it is discarded alone.
    """
    row, failed = schema.instance.c, schema.withheld.c
    wide = or_(
        failed.reason == str(Reason.STUDY_CONDITIONS),
        and_(failed.reason == str(Reason.SERIES_CONDITIONS), failed.series_key == row.series_key),
    )
    of_study = (failed.project == row.project, failed.study_key == row.study_key)
    return select(failed.id).where(*of_study, wide, *_keeping()).correlate(schema.instance).exists()


def _keeping(*over: Fate) -> tuple[ColumnElement[bool], ...]:
    """Of a row of withheld originals: that it has none of the fates that end it, and was not accepted when it came
    again."""
    failed, again = schema.withheld.c, schema.instance.alias("again")
    accepted = select(again.c.id).where(
        again.c.project == failed.project,
        again.c.instance_key == failed.instance_key,
        again.c.received_digest != LOST,
        again.c.received_at >= failed.received_at,
    )
    ended = [str(fate) for fate in (Fate.RELEASED, Fate.DISCARDED_ALONE, *over)]
    return failed.fate.not_in(ended), ~accepted.correlate(schema.withheld).exists()


@cache
def _failed(*over: Fate) -> Select[Any]:
    """The sealed originals of a study that keep others back; put together once, which takes longer than to ask it."""
    failed = schema.withheld.c
    reasons = failed.reason.in_([str(reason) for reason in FAILING])
    return (
        select(failed.series_key, failed.reason)
        .distinct()
        .where(schema.of_study(schema.withheld), reasons, *_keeping(*over))
    )


class Barred:
    """The part of the journal that knows what is kept back."""

    _all: Callable[..., Sequence[Row[Any]]]

    def _barred_of(self, project: str, study_key: str, *over: Fate) -> ColumnElement[bool]:
        """The same as `barred` for the rows of one study, of which the originals are asked for once; those whose fate
        is in `over` bar nothing."""
        found = [tuple(row) for row in self._all(_failed(*over), project=project, study_key=study_key)]
        if any(reason == Reason.STUDY_CONDITIONS for _, reason in found):
            return true()
        return schema.instance.c.series_key.in_([series for series, _ in found]) if found else NONE

    def barred(self, project: str, study_key: str) -> frozenset[str]:
        """Keys of the study's clean instances that are kept back."""
        row, those = schema.instance.c, self._barred_of(project, study_key)
        if those is NONE:
            return frozenset()
        chosen = select(row.instance_key).where(row.project == project, row.study_key == study_key, those)
        return frozenset(key for (key,) in map(tuple, self._all(chosen)))

    def kept_for_later(self, project: str, study_key: str) -> bool:
        """Whether something is kept back that may go one day: its segments are not to be deleted."""
        row = schema.instance.c
        of_study = (row.project == project, row.study_key == study_key)
        barred = self._barred_of(project, study_key, Fate.DISCARDED_WITH_OTHERS)
        return bool(self._all(select(row.instance_key).where(*of_study, barred).limit(1)))

    def may_go(self, project: str, study_key: str) -> frozenset[str]:
        """SOP Instance UIDs, as sent, of the study's clean instances that are not kept back."""
        row = schema.instance.c
        of_study = (row.project == project, row.study_key == study_key, row.received_digest != LOST)
        chosen = select(row.sop_uid).where(*of_study, ~self._barred_of(project, study_key))
        return frozenset(uid for (uid,) in map(tuple, self._all(chosen)))

    def failed_late(self, w: Withheld, under_way: bool = False) -> Event | None:
        """What a person has to know where some of what fails with this original has gone out, or is `under_way`."""
        sent = self._barred_sent(w.project, w.study_key) if w.reason in FAILING and w.study_key else 0
        if not sent and not under_way:
            return None
        facts = {"series": w.series_key, "instance": w.instance_key, "reason": str(w.reason), "sent": sent}
        return Event("conditions-failed-late", time.time(), w.project, w.study_key, facts)

    def _barred_sent(self, project: str, study_key: str) -> int:
        """How many of what is kept back some destination has taken already."""
        row, sent, those = schema.instance.c, schema.sent.c, self._barred_of(project, study_key)
        if those is NONE:
            return 0
        to_study = (sent.project == row.project, sent.instance_key == row.instance_key)
        taken = select(sent.at).where(*to_study, sent.ok == true())
        of_study = (row.project == project, row.study_key == study_key, those)
        counted = select(func.count()).select_from(schema.instance).where(*of_study, taken.exists())
        return int(self._all(counted)[0][0])
