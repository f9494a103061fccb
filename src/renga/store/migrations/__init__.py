"""Alembic's folder: run by `renga.store.database` at open, not imported otherwise."""
