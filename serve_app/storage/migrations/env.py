"""Alembic's entry point: the connection comes from `upgrade`, so no address or password is in a file."""

from alembic import context

from serve_app.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
