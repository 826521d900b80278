"""What Alembic runs for every command: it migrates over the connection that `database.migrate` has open."""

from alembic import context

from serve_app.records.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
