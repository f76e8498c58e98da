"""runs of other tools

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UNKNOWN_ELSEWHERE = ("lr", "seconds", "train_seconds", "images_per_s")
"""Of an epoch, what other tools need not have recorded."""


def upgrade() -> None:
    op.add_column("runs", sa.Column("source", sa.String(16), nullable=False, server_default="fitroom"))
    op.add_column("runs", sa.Column("source_key", sa.String(80), nullable=True))
    op.add_column("runs", sa.Column("source_info", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(op.f("ix_runs_source_key"), "runs", ["source_key"], unique=True)
    with op.batch_alter_table("epochs") as batch_op:
        for name in UNKNOWN_ELSEWHERE:
            batch_op.alter_column(name, existing_type=sa.Double(), nullable=True)
    op.create_table(
        "series",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("steps", sa.LargeBinary(), nullable=False),
        sa.Column("values", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_series_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_series")),
    )


def downgrade() -> None:
    op.drop_table("series")
    epochs = sa.table("epochs", *(sa.column(name) for name in UNKNOWN_ELSEWHERE))
    op.execute(epochs.delete().where(sa.or_(*(epochs.c[name].is_(None) for name in UNKNOWN_ELSEWHERE))))
    with op.batch_alter_table("epochs") as batch_op:
        for name in UNKNOWN_ELSEWHERE:
            batch_op.alter_column(name, existing_type=sa.Double(), nullable=False)
    op.drop_index(op.f("ix_runs_source_key"), "runs")
    for name in ("source_info", "source_key", "source"):
        op.drop_column("runs", name)
