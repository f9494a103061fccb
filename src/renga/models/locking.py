"""A model's folder, and one at a time in it: a lock that ends with its process, however that ends.

Owns how such a folder is made, and how two processes that change it keep apart.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from renga.errors import SetupError


def make_folder(folder: Path) -> None:
    """Make a folder of a model; it and what is made above it are their owner's alone.

    Raises SetupError.
    """
    try:
        for parent in reversed((folder, *folder.parents)):
            parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"cannot make the folder {folder}: {error.strerror}",
            "set RENGA_HOME to a folder that you can write",
        ) from error


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
