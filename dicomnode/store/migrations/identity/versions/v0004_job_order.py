"""The jobs of a retrieval in the order in which they were entered, without sorting them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("job_in_order", "job", ["retrieval", "id"])
