"""Pseudonyms that somebody else has given, and a view for each attribute of the book."""

import sqlalchemy as sa
from alembic import op

from dicomnode.store.views import create

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ATTRIBUTES = (
    *("PatientID", "PatientName", "AccessionNumber", "StudyID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
)


def upgrade() -> None:
    op.create_table(
        "mapping",
        sa.Column("id", sa.Integer(), primary_key=True),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("project", "attribute", "original", "study", "cleaned")
        ),
        sa.UniqueConstraint("project", "attribute", "original", "study", name="mapping_by_original"),
    )
    for attribute in ATTRIBUTES:
        create(op.get_bind(), attribute)
