"""Runs migrations on the connection that `app.schema` hands over, or from the command line on FITROOM_HOME."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from app.config import load_settings
from app.models import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        user_module_prefix="app.db.",
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(f"sqlite:///{load_settings().database}").connect() as own:
        run(own)
