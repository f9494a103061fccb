"""One at a time: a lock on a model's folder that ends with its process, however that ends.

Owns how two processes that change one folder keep apart. It changes nothing itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from renga.errors import SetupError


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of `folder`. Raises SetupError where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SetupError(
            f"'{name}' is being changed by another command", "wait until that one has ended"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
