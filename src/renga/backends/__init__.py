"""What serves a tier: one file per kind, and the table that names them.

A new backend is a file with the protocol of `base` and a row here.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from renga.backends.base import Backend
from renga.config import BackendConfig

# kind -> "module:class"; the class is called as Class(config, home=state folder).
BACKENDS: dict[str, str] = {
    "local": "renga.backends.local:LocalBackend",
    "scripted": "renga.backends.scripted:ScriptedBackend",
}


def make_backend(config: BackendConfig, *, home: Path) -> Backend:
    """The backend that `config` describes, not started yet."""
    module, _, name = BACKENDS[config.kind].partition(":")
    backend: Backend = getattr(import_module(module), name)(config, home=home)
    return backend
