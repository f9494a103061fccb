"""How Alembic runs here: on the connection and inside the transaction that the opener holds.

So two processes that open a new database at once do it one after the other, and a failing migration
leaves nothing behind.
"""

from __future__ import annotations

from alembic import context

from renga.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
