"""The database: SQLite or PostgreSQL, named by URL; all SQL of the program is in this folder.

`Store` is the open database: reads on a few threads, writes on exactly one (`writer`). Does not
know requests, prices or the API.
"""

from renga.store.errors import RejectedRow, StoreError
from renga.store.sqlite import sqlite_url
from renga.store.store import Store
from renga.store.text import storable
from renga.store.writer import Operation

__all__ = ["Operation", "RejectedRow", "Store", "StoreError", "sqlite_url", "storable"]
