"""What goes wrong in a model's process, as a caller is told it; alike for all who have one.

It knows no requests: who asks counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from renga.engine.client import EngineDied, EngineOverloaded
from renga.errors import BackendFailed, Overloaded, Unavailable


def not_running(name: str) -> Unavailable:
    """The 503 of backend `name` before its start and after its end."""
    return Unavailable(f"backend '{name}' is not running")


@contextmanager
def telling(name: str, process: str, there: Callable[[], bool]) -> Iterator[None]:
    """One request to backend `name`. `there` says whether it still has its `process`."""
    try:
        yield
    except EngineOverloaded as error:
        raise Overloaded(f"backend '{name}': {error}", retry_after=error.retry_after) from error
    except EngineDied as error:
        if not there():
            raise not_running(name) from error
        raise BackendFailed(
            f"backend '{name}': {process} ended; it is being started again"
        ) from error
