"""Tiers over any backend: why an attempt failed, in a word."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("attempts", sa.Column("cause", sa.String))
    _costs()


def _costs() -> None:
    """What of the tier's price an answer pays, and what an attempt cost on own hardware."""
    op.add_column("answers", sa.Column("price_percent", sa.Integer))
    op.add_column("attempts", sa.Column("own_cost_pico", sa.BigInteger))
