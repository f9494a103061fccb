"""The first schema: instances, answers, attempts, workspaces, keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _tokens() -> list[sa.Column[int]]:
    names = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reused")
    return [sa.Column(f"{name}_tokens", sa.BigInteger) for name in names]


def _prices() -> list[sa.Column[int]]:
    names = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    return [sa.Column(f"{name}_price_pico", sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    """Create everything."""
    _create_instances()
    _create_answers()
    _create_attempts()
    _create_keys()


def _create_instances() -> None:
    op.create_table(
        "instances",
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("renewed_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("closed_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
    )


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("key_id", sa.String),
        sa.Column("tier", sa.String, nullable=False),
        sa.Column("served_tier", sa.String),
        sa.Column("model_requested", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("backend", sa.String),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("stop_reason", sa.String),
        sa.Column("error_type", sa.String),
        *_tokens(),
        *_prices(),
        sa.Column("cost_pico", sa.BigInteger),
        sa.Column("received_us", sa.BigInteger, nullable=False),
        sa.Column("first_token_us", sa.BigInteger),
        sa.Column("closed_us", sa.BigInteger),
        sa.Column("closed_by", sa.String),
        sa.Column("notes", sa.String),
        sa.PrimaryKeyConstraint("request_id", name="pk_answers"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.instance_id"], name="fk_answers_instance_id_instances"
        ),
    )
    op.create_index("ix_answers_received_us_request_id", "answers", ["received_us", "request_id"])
    op.create_index("ix_answers_workspace_received_us", "answers", ["workspace", "received_us"])
    _index_open("answers")


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("backend", sa.String, nullable=False),
        sa.Column("layer", sa.String),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("error", sa.String),
        *_tokens(),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        sa.Column("first_token_us", sa.BigInteger),
        sa.Column("closed_us", sa.BigInteger),
        sa.Column("closed_by", sa.String),
        sa.PrimaryKeyConstraint("request_id", "number", name="pk_attempts"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["answers.request_id"], name="fk_attempts_request_id_answers"
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.instance_id"], name="fk_attempts_instance_id_instances"
        ),
    )
    _index_open("attempts")


def _index_open(table: str) -> None:
    # Few rows are open at a time: the sweep looks at those alone.
    still_open = sa.text("status = 'open'")
    op.create_index(
        f"ix_{table}_open",
        table,
        ["instance_id"],
        sqlite_where=still_open,
        postgresql_where=still_open,
    )


def _create_keys() -> None:
    op.create_table(
        "workspaces",
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("workspace", name="pk_workspaces"),
    )
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("lookup", sa.String, nullable=False),
        sa.Column("salt", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("disabled_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("key_id", name="pk_keys"),
        sa.UniqueConstraint("lookup", name="uq_keys_lookup"),
        sa.ForeignKeyConstraint(
            ["workspace"], ["workspaces.workspace"], name="fk_keys_workspace_workspaces"
        ),
    )
