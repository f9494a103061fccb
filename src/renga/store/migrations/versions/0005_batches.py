"""Message Batches and bulk work: what is asked, how it is worked on, and what came of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    _batches()
    _items()
    op.create_table(
        "batch_requests",
        sa.Column("batch_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("request", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_requests"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.batch_id"], name="fk_batch_requests_batch_id_batches"
        ),
    )
    _handovers()
    _bulk()


def _handovers() -> None:
    op.create_table(
        "batch_handovers",
        sa.Column("backend", sa.String, nullable=False),
        sa.Column("custom_id", sa.String, nullable=False),
        sa.Column("batch_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("handover_id", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("handed_us", sa.BigInteger, nullable=False),
        sa.Column("upstream_id", sa.String),
        sa.PrimaryKeyConstraint("backend", "custom_id", name="pk_batch_handovers"),
    )
    op.create_index("ix_batch_handovers_handover_id", "batch_handovers", ["handover_id"])


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("key_id", sa.String),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("betas", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("cancel_us", sa.BigInteger),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("archived_us", sa.BigInteger),
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("total", "succeeded", "errored", "canceled", "expired")
        ),
        sa.PrimaryKeyConstraint("batch_id", name="pk_batches"),
    )
    op.create_index(
        "ix_batches_workspace_created_us_batch_id",
        "batches",
        ["workspace", "created_us", "batch_id"],
    )
    _index("ix_batches_unended", "batches", ["state", "created_us"], "state != 'ended'")


def _items() -> None:
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("custom_id", sa.String, nullable=False),
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("holder", sa.String),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String),
        sa.Column("result", sa.String),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_items"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.batch_id"], name="fk_batch_items_batch_id_batches"
        ),
    )
    # Few of many items wait or run at a time: what is looked for is in small indices of its own.
    _index(
        "ix_batch_items_waiting",
        "batch_items",
        ["batch_id", "lane", "prefix", "number"],
        "state = 'waiting'",
    )
    _index("ix_batch_items_running", "batch_items", ["batch_id", "holder"], "state = 'running'")


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    chosen = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=chosen, postgresql_where=chosen)


def _bulk() -> None:
    op.create_table(
        "bulk_jobs",
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("output", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_bulk_jobs"),
        sa.UniqueConstraint("output", name="uq_bulk_jobs_output"),
    )
    op.create_table(
        "bulk_rows",
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("value", sa.String),
        sa.Column("fault", sa.String),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_bulk_rows"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["bulk_jobs.job_id"], name="fk_bulk_rows_job_id_bulk_jobs"
        ),
    )
