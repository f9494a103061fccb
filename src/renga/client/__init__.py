"""What Python programs use beside the official SDK: questions over many rows, and batches.

`AsyncClient` is the core, `Client` the same for programs without an event loop. Both are thin over
the `anthropic` package (extra `renga[client]`): its client is `sdk`, its types are what comes back.
"""

from renga.client.core import Answered, AsyncBatch, AsyncClient, BatchProgress
from renga.client.sync import Batch, Client

__all__ = ["Answered", "AsyncBatch", "AsyncClient", "Batch", "BatchProgress", "Client"]
