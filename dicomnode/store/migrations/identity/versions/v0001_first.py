"""The identity book's first tables and views."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VIEWS = {"patient": "PatientID", "accession_no": "AccessionNumber", "studyuid": "StudyInstanceUID"}


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), primary_key=True),
        *(_text(name) for name in ("project", "attribute", "original", "cleaned", "study_key")),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.UniqueConstraint("cleaned", "attribute", "project", "original", name="identity_by_cleaned"),
    )
    op.create_table(
        "request",
        sa.Column("id", sa.Integer(), primary_key=True),
        *(_text(name) for name in ("project", "kind", "value", "study_key", "state")),
        sa.Column("at", sa.Float(), nullable=False),
        sa.UniqueConstraint("project", "kind", "value", name="request_by_value"),
    )
    for view, attribute in VIEWS.items():
        op.execute(
            f"CREATE VIEW {view} AS SELECT original, cleaned, project, study_key, first_at "
            f"FROM identity WHERE attribute = '{attribute}'"
        )
