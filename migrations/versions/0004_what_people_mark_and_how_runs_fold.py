"""what people mark, saved views, and how runs fold

Revision: 0004, after 0003
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

import app.db
from app.runs_table import sparks
from app.runs_table.folding import config_key

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("starred", "archived"):
        op.add_column("runs", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("config_key", sa.String(length=16), nullable=True))
    op.add_column("runs", sa.Column("spark", sa.LargeBinary(), nullable=True))
    op.create_table(
        "views",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("saved_by", sa.String(length=40), nullable=False),
        sa.Column("saved_at", app.db.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_views")),
        sa.UniqueConstraint("name", name=op.f("uq_views_name")),
    )
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """What the newer version writes with each run and each epoch, for those that are there already."""
    runs = sa.table("runs", *(sa.column(name) for name in ("id", "config", "config_key", "spark")))
    epochs = sa.table("epochs", *(sa.column(name) for name in ("run_id", "epoch", "val_accuracy")))
    for run_id, config in connection.execute(sa.select(runs.c.id, runs.c.config)).all():
        curve = sa.select(epochs.c.val_accuracy).where(epochs.c.run_id == run_id).order_by(epochs.c.epoch)
        values = {
            "config_key": config_key(json.loads(config)),
            "spark": sparks.pack(sparks.thinned(connection.scalars(curve).all())),
        }
        connection.execute(runs.update().where(runs.c.id == run_id).values(values))


def downgrade() -> None:
    op.drop_table("views")
    for name in ("spark", "config_key", "archived", "starred"):
        op.drop_column("runs", name)
