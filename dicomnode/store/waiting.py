"""What destinations have not got yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, distinct, func, select, true

from dicomnode.model import DeliveryState, StudyState
from dicomnode.store import schema
from dicomnode.store.barred import barred

NOT_TO_GO = (str(StudyState.ON_HOLD), str(StudyState.CLOSED))
UNDELIVERED = (str(DeliveryState.WAITING), str(DeliveryState.SENDING))


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a destination has not got yet: how much, and when the last instance of its oldest study came."""

    destination: str
    studies: int
    instances: int
    bytes: int
    since: float


def waiting(before: float) -> Select[Any]:
    """Rows of Waiting, over the studies whose last instance came `before`."""
    delivery, study, row, sent = schema.delivery.c, schema.study.c, schema.instance.c, schema.sent.c
    answered = select(sent.status).where(
        sent.instance_key == row.instance_key, sent.destination == delivery.destination, sent.project == row.project
    )
    return (
        select(
            delivery.destination,
            func.count(distinct(row.project + "/" + row.study_key)),
            func.count(),
            func.sum(row.length),
            func.min(study.last_at),
        )
        .join(schema.study, and_(study.project == delivery.project, study.study_key == delivery.study_key))
        .join(schema.instance, and_(row.project == delivery.project, row.study_key == delivery.study_key))
        .where(study.state.not_in(NOT_TO_GO))
        .where(
            delivery.state.in_(UNDELIVERED),
            study.last_at < before,
            row.segment.is_not(None),
            ~answered.exists(),
            ~barred(),
        )
        .group_by(delivery.destination)
    )


def delivered() -> ColumnElement[bool]:
    """Of a row of instances: whether its study has destinations, and each of them has taken it."""
    delivery, row, sent = schema.delivery.c, schema.instance.c, schema.sent.c
    of_study = select(delivery.state).where(delivery.project == row.project, delivery.study_key == row.study_key)
    to_study = (sent.project == row.project, sent.instance_key == row.instance_key)
    taken = select(sent.at).where(*to_study, sent.destination == delivery.destination, sent.ok == true())
    owed = of_study.where(~taken.correlate(schema.delivery, schema.instance).exists()).correlate(schema.instance)
    return and_(of_study.correlate(schema.instance).exists(), ~owed.exists())
