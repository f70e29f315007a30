"""What became of a withheld original."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("withheld", sa.Column("fate", sa.String(), nullable=False, server_default=""))
    op.add_column("withheld", sa.Column("fate_at", sa.Float()))
