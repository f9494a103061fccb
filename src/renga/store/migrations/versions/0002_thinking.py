"""How many tokens of an answer were thinking. Rows from before have NULL: nobody counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column to both tables."""
    for table in ("answers", "attempts"):
        op.add_column(table, sa.Column("thinking_tokens", sa.BigInteger))
