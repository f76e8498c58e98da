"""which data set a run used

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Read out of the settings of each run, those there are included; only the index is stored.
    named = sa.Computed("CAST(json_extract(config, '$.dataset') AS TEXT)", persisted=False)
    op.add_column("runs", sa.Column("dataset", sa.String(), named, nullable=True))
    op.create_index("ix_runs_dataset_id", "runs", ["dataset", "id"])


def downgrade() -> None:
    op.drop_index("ix_runs_dataset_id", "runs")
    op.drop_column("runs", "dataset")
