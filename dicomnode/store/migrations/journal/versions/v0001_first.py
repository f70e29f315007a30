"""The journal's first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, primary_key=primary_key)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _time(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "study",
        _text("project", primary_key=True),
        _text("study_key", primary_key=True),
        *(_text(name) for name in ("study_uid", "patient", "state")),
        _number("stored"),
        _number("withheld"),
        sa.Column("expected", sa.Integer()),
        _text("evidence"),
        sa.Column("amended", sa.Boolean(), nullable=False),
        _time("first_at"),
        _time("last_at"),
    )
    op.create_index("study_by_key", "study", ["study_key"])
    op.create_index("study_by_uid", "study", ["study_uid"])
    op.create_index("study_by_state", "study", ["state"])

    keys = ("project", "study_key", "series_key", "instance_key", "study_uid")
    uids = ("series_uid", "sop_uid", "sop_class", "transfer_syntax", "patient", "modality")
    digests = ("received_digest", "data_digest", "rules_digest", "peer")
    place = ("offset", "length", "data_offset", "data_length", "data_set_offset")
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), primary_key=True),
        *(_text(name) for name in keys + uids + digests),
        _time("received_at"),
        sa.Column("segment", sa.String()),
        *(sa.Column(name, sa.Integer()) for name in place),
        sa.UniqueConstraint("segment", "offset", name="instance_by_place"),
    )
    op.create_index("instance_by_key", "instance", ["instance_key"])
    op.create_index("instance_by_study", "instance", ["study_key"])

    op.create_table("segment", _text("name", primary_key=True), _number("extent"))

    told = ("project", "quarantine", "study_key", "series_key", "instance_key", "study_uid")
    why = ("reason", "where", "sop_class", "received_digest", "rules_digest", "peer")
    op.create_table(
        "withheld",
        sa.Column("id", sa.Integer(), primary_key=True),
        *(_text(name) for name in told + why),
        _time("received_at"),
        _number("length"),
        sa.UniqueConstraint("project", "quarantine", name="withheld_by_quarantine"),
    )
    op.create_index("withheld_by_key", "withheld", ["instance_key"])
    op.create_index("withheld_by_study", "withheld", ["study_key"])

    op.create_table(
        "delivery",
        *(_text(name, primary_key=True) for name in ("project", "study_key", "destination")),
        _text("state"),
        _number("attempts"),
        _time("next_at"),
        _text("error"),
        _number("sent"),
        _number("failed"),
    )
    op.create_index("delivery_by_state", "delivery", ["state"])

    op.create_table(
        "sent",
        *(_text(name, primary_key=True) for name in ("instance_key", "destination", "project")),
        _number("status"),
        sa.Column("ok", sa.Boolean(), nullable=False),
        _time("at"),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), primary_key=True),
        _time("at"),
        *(_text(name) for name in ("name", "project", "study_key")),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_index("event_by_study", "event", ["study_key"])
