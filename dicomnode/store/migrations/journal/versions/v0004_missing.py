"""What the source lists of a study and that is not here."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study", sa.Column("missing", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "missing",
        *(sa.Column(name, sa.String(), nullable=False, primary_key=True) for name in ("project", "study_key")),
        sa.Column("instance_key", sa.String(), nullable=False, primary_key=True),
        sqlite_with_rowid=False,
    )
