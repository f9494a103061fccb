"""The tables. Every column is explained in docs/ledger.md, which a test holds complete.

Times are integer microseconds since 1970 (`_us`), money is integer pico-dollars (`_pico`). What
is not known is NULL, never 0. A change here needs a migration beside the others, and `HEAD` set
to it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

HEAD: Final = "0005"
"""The newest migration; a database that is at it is opened without loading Alembic."""

TOKENS: Final = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reused",
    "thinking",
)
"""What is counted, each in a column `NAME_tokens`; all but the last two are disjoint."""

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _tokens() -> list[Column[int]]:
    return [Column(f"{name}_tokens", BigInteger) for name in TOKENS]


def _prices() -> list[Column[int]]:
    names = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    return [Column(f"{name}_price_pico", BigInteger, nullable=False) for name in names]


instances: Final = Table(
    "instances",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("started_us", BigInteger, nullable=False),
    Column("renewed_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
)

answers: Final = Table(
    "answers",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("instance_id", String, ForeignKey("instances.instance_id"), nullable=False),
    Column("workspace", String, nullable=False),
    Column("key_id", String),
    Column("tier", String, nullable=False),
    Column("served_tier", String),
    Column("model_requested", String, nullable=False),
    Column("model", String, nullable=False),
    Column("backend", String),
    Column("service", String, nullable=False),
    Column("status", String, nullable=False),
    Column("stop_reason", String),
    Column("error_type", String),
    *_tokens(),
    *_prices(),
    Column("price_percent", Integer),
    Column("cost_pico", BigInteger),
    Column("received_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("closed_us", BigInteger),
    Column("closed_by", String),
    Column("notes", String),
    Index(None, "received_us", "request_id"),
    Index(None, "workspace", "received_us"),
    Index(
        "ix_answers_open",
        "instance_id",
        sqlite_where=text("status = 'open'"),
        postgresql_where=text("status = 'open'"),
    ),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("request_id", String, ForeignKey("answers.request_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("instance_id", String, ForeignKey("instances.instance_id"), nullable=False),
    Column("backend", String, nullable=False),
    Column("layer", String),
    Column("status", String, nullable=False),
    Column("error", String),
    Column("cause", String),
    *_tokens(),
    Column("own_cost_pico", BigInteger),
    Column("opened_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("closed_us", BigInteger),
    Column("closed_by", String),
    Index(
        "ix_attempts_open",
        "instance_id",
        sqlite_where=text("status = 'open'"),
        postgresql_where=text("status = 'open'"),
    ),
)

workspaces: Final = Table(
    "workspaces",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("created_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Column("display_color", String),
    Column("tags", String),
)

keys: Final = Table(
    "keys",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("workspace", String, ForeignKey("workspaces.workspace"), nullable=False),
    Column("lookup", String, nullable=False, unique=True),
    Column("salt", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("disabled_us", BigInteger),
    Column("archived_us", BigInteger),
    Column("expires_us", BigInteger),
    Column("scopes", String),
    Column("last_used_us", BigInteger),
)

limit_buckets: Final = Table(
    "limit_buckets",
    metadata,
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("since_us", BigInteger, primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)

limit_shares: Final = Table(
    "limit_shares",
    metadata,
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("since_us", BigInteger, primary_key=True),
    Column("instance_id", String, primary_key=True),
    Column("held", BigInteger, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Index(None, "instance_id"),
)

files: Final = Table(
    "files",
    metadata,
    Column("file_id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("state", String, nullable=False),
    Column("filename", String),
    Column("mime_type", String),
    Column("size_bytes", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Index(None, "workspace", "created_us", "file_id"),
    Index(
        "ix_files_unsettled",
        "state",
        sqlite_where=text("state != 'there' OR expires_us IS NOT NULL"),
        postgresql_where=text("state != 'there' OR expires_us IS NOT NULL"),
    ),
)

batches: Final = Table(
    "batches",
    metadata,
    Column("batch_id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("key_id", String),
    Column("instance_id", String, nullable=False),
    Column("version", String, nullable=False),
    Column("betas", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("cancel_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("archived_us", BigInteger),
    Column("total", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("errored", Integer, nullable=False),
    Column("canceled", Integer, nullable=False),
    Column("expired", Integer, nullable=False),
    Index(None, "workspace", "created_us", "batch_id"),
    Index(
        "ix_batches_unended",
        "state",
        "created_us",
        sqlite_where=text("state != 'ended'"),
        postgresql_where=text("state != 'ended'"),
    ),
)

batch_items: Final = Table(
    "batch_items",
    metadata,
    Column("batch_id", String, ForeignKey("batches.batch_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("custom_id", String, nullable=False),
    Column("lane", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("state", String, nullable=False),
    Column("holder", String),
    Column("due_us", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("request_id", String),
    Column("result", String),
    Index(
        "ix_batch_items_waiting",
        "batch_id",
        "lane",
        "prefix",
        "number",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_batch_items_running",
        "batch_id",
        "holder",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

batch_requests: Final = Table(
    "batch_requests",
    metadata,
    Column("batch_id", String, ForeignKey("batches.batch_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("request", String, nullable=False),
)

batch_handovers: Final = Table(
    "batch_handovers",
    metadata,
    Column("backend", String, primary_key=True),
    Column("custom_id", String, primary_key=True),
    Column("batch_id", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("handover_id", String, nullable=False, index=True),
    Column("size", Integer, nullable=False),
    Column("handed_us", BigInteger, nullable=False),
    Column("upstream_id", String),
)

writers: Final = Table(
    "writers",
    metadata,
    Column("writer_id", String, primary_key=True),
    Column("commits", BigInteger, nullable=False),
    Column("renewed_us", BigInteger, nullable=False),
)

ROLLUP_KEYS: Final = (
    "day",
    "workspace",
    "key_id",
    "tier",
    "served_tier",
    "model",
    "backend",
    "service",
    "status",
)
"""What purged answers are added up by; an answer's NULL is "" there."""

ROLLUP_SUMS: Final = (
    "answers",
    "attempts",
    "unpriced",
    *(f"{name}_tokens" for name in TOKENS),
    "cost_high",
    "cost_low",
    "uncached_high",
    "uncached_low",
    "full_high",
    "full_low",
    "own_cost_high",
    "own_cost_low",
)
"""What is added up. Money in two parts, since one would leave 64 bits: `high * 10**6 + low`
pico-dollars. `uncached` is what the answers that have a cost had cost without a cache, `full` at
the tier's whole price, which batches do not pay. Of tokens and own cost NULL says that no row knew.
"""

responses: Final = Table(
    "responses",
    metadata,
    Column("response_id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("answered_us", BigInteger, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
)

rollups: Final = Table(
    "rollups",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, String, primary_key=True) for name in ROLLUP_KEYS[1:]),
    *(
        Column(name, BigInteger, nullable=name.endswith("_tokens") or name.startswith("own_"))
        for name in ROLLUP_SUMS
    ),
)

bulk_jobs: Final = Table(
    "bulk_jobs",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("output", String, nullable=False, unique=True),
    Column("fingerprint", String, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

bulk_rows: Final = Table(
    "bulk_rows",
    metadata,
    Column("job_id", String, ForeignKey("bulk_jobs.job_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("value", String),
    Column("fault", String),
)
