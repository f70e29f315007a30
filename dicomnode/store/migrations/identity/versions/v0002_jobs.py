"""Retrievals and their jobs, in place of single requests."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, primary_key=primary_key)


def _number(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def upgrade() -> None:
    op.create_table(
        "retrieval",
        sa.Column("id", sa.Integer(), primary_key=True),
        *(_text(name) for name in ("project", "source", "state")),
        _number("priority", sa.Integer()),
        _text("modalities"),
        _number("most", sa.Integer()),
        _number("any_time", sa.Boolean()),
        _text("run"),
        _number("held", sa.Boolean()),
        _text("user"),
        _number("at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), primary_key=True),
        _number("retrieval", sa.Integer()),
        *(_text(name) for name in ("kind", "value", "patient", "since", "until", "study_key", "name", "state")),
        _number("attempts", sa.Integer()),
        _number("next_at", sa.Float()),
        sa.Column("expected", sa.Integer()),
        sa.Column("here", sa.Integer()),
        _text("error"),
        sa.Column("ended_at", sa.Float()),
        sa.UniqueConstraint("retrieval", "kind", "value", "patient", "since", "until", name="job_by_value"),
    )
    op.create_index("job_next", "job", ["retrieval", "state", "next_at", "id"])
    op.create_index("job_by_study", "job", ["study_key"])
    op.create_index("job_by_end", "job", ["retrieval", "ended_at"])
    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), primary_key=True),
        _number("retrieval", sa.Integer()),
        _text("name"),
        _number("protocol", sa.Boolean()),
        _text("comment"),
    )
    op.create_index("review_by_study", "review", ["retrieval", "name"])
    op.create_table(
        "arrival",
        _text("place", primary_key=True),
        _number("ok", sa.Boolean()),
        _number("at", sa.Float()),
    )
    _keep_requests()


def _keep_requests() -> None:
    """What was asked for before stays on record."""
    op.execute(
        "INSERT INTO retrieval "
        "(project, source, state, priority, modalities, most, any_time, run, held, user, at, ended_at) "
        "SELECT project, '', 'ended', 0, '', 0, 0, '', 0, '', max(at), max(at) FROM request GROUP BY project"
    )
    op.execute(
        "INSERT INTO job (retrieval, kind, value, patient, since, until, study_key, name, state, attempts, next_at, "
        "error, ended_at) SELECT retrieval.id, kind, value, '', '', '', study_key, '', 'cancelled', 0, 0, '', "
        "request.at FROM request JOIN retrieval ON retrieval.project = request.project"
    )
    op.drop_table("request")
