"""where an epoch's time went

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = ("data_s", "compute_s", "validation_s", "recording_s")


def upgrade() -> None:
    # Empty for the epochs recorded before: nobody knows.
    for name in COLUMNS:
        op.add_column("epochs", sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("epochs") as batch_op:
        for name in COLUMNS:
            batch_op.drop_column(name)
