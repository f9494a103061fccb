"""Tiers over any backend: why an attempt failed, in a word."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add what each part of it needs."""
    op.add_column("attempts", sa.Column("cause", sa.String))
    _create_writers()
    _create_rollups()


def _create_writers() -> None:
    """Whether a transaction whose commit was cut off is there."""
    op.create_table(
        "writers",
        sa.Column("writer_id", sa.String, nullable=False),
        sa.Column("commits", sa.BigInteger, nullable=False),
        sa.Column("renewed_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("writer_id", name="pk_writers"),
    )


def _create_rollups() -> None:
    """What purged answers added up to."""
    names = "workspace key_id tier served_tier model backend service status".split()
    tokens = "input cache_read cache_write_5m cache_write_1h output reused thinking".split()
    money = ("cost", "uncached", "full")
    op.create_table(
        "rollups",
        sa.Column("day", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, sa.String, nullable=False) for name in names),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("answers", "attempts", "unpriced")
        ),
        *(sa.Column(f"{name}_tokens", sa.BigInteger) for name in tokens),
        *(
            sa.Column(f"{name}_{part}", sa.BigInteger, nullable=False)
            for name in money
            for part in ("high", "low")
        ),
        *(sa.Column(f"own_cost_{part}", sa.BigInteger) for part in ("high", "low")),
        sa.PrimaryKeyConstraint("day", *names, name="pk_rollups"),
    )
    _costs()
    _keys()
    _limits()
    _responses()


def _costs() -> None:
    """What of the tier's price an answer pays, and what an attempt cost on own hardware."""
    op.add_column("answers", sa.Column("price_percent", sa.Integer))
    op.add_column("attempts", sa.Column("own_cost_pico", sa.BigInteger))


def _keys() -> None:
    """What a key may do and until when, when it was last used; what is archived."""
    for name in ("archived_us", "expires_us"):
        op.add_column("keys", sa.Column(name, sa.BigInteger))
    op.add_column("keys", sa.Column("scopes", sa.String))
    op.add_column("keys", sa.Column("last_used_us", sa.BigInteger))
    op.add_column("workspaces", sa.Column("archived_us", sa.BigInteger))
    op.add_column("workspaces", sa.Column("display_color", sa.String))
    op.add_column("workspaces", sa.Column("tags", sa.String))


def _limits() -> None:
    """What is used of each limit, and what of it each server holds."""
    names = ("subject", "kind", "since_us")
    op.create_table(
        "limit_buckets",
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(*names, name="pk_limit_buckets"),
    )
    op.create_table(
        "limit_shares",
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("settled", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(*names, "instance_id", name="pk_limit_shares"),
    )
    op.create_index("ix_limit_shares_instance_id", "limit_shares", ["instance_id"])


def _responses() -> None:
    """Answers that are kept to be given again."""
    op.create_table(
        "responses",
        sa.Column("response_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("answered_us", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("response_id", name="pk_responses"),
    )
    op.create_index("ix_responses_answered_us", "responses", ["answered_us"])
