"""Uploaded files: what is known of each; the bytes stand in the state folder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "files",
        sa.Column("file_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("filename", sa.String),
        sa.Column("mime_type", sa.String),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("file_id", name="pk_files"),
    )
    op.create_index(
        "ix_files_workspace_created_us_file_id", "files", ["workspace", "created_us", "file_id"]
    )
    # Most files stay for good: the sweep looks at the others alone.
    unsettled = sa.text("state != 'there' OR expires_us IS NOT NULL")
    op.create_index(
        "ix_files_unsettled",
        "files",
        ["state"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
