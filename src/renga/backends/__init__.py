"""What serves a tier: one file per kind, and the table that names them.

A new backend is a file with the protocol of `base` and a row here.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from renga.backends.base import Backend
from renga.backends.chosen import ChosenBackend
from renga.config import BackendConfig
from renga.errors import SetupError
from renga.machine import Machine
from renga.models.locate import resolved

# kind -> "module:class"; called as Class(config, home=state folder, machine=what is shared).
BACKENDS: dict[str, str] = {
    "local": "renga.backends.local:LocalBackend",
    "llamacpp": "renga.backends.llamacpp:LlamacppBackend",
    "openvino_vlm": "renga.backends.seeing:SeeingBackend",
    "openai": "renga.backends.openai:OpenaiBackend",
    "messages": "renga.backends.messages:MessagesBackend",
    "scripted": "renga.backends.scripted:ScriptedBackend",
}


def make_backend(config: BackendConfig, *, home: Path, machine: Machine | None = None) -> Backend:
    """The backend that `config` describes, not started yet; alone on the machine without one.

    A kind that is left open is told by the model's files; while there are none, at the start.
    """
    machine = machine or Machine()
    try:
        return _make(resolved(config, home), home, machine)
    except SetupError:
        return ChosenBackend(config.name, lambda: _make(resolved(config, home), home, machine))


def _make(config: BackendConfig, home: Path, machine: Machine) -> Backend:
    module, _, name = BACKENDS[config.kind].partition(":")
    made = getattr(import_module(module), name)
    backend: Backend = made(config, home=home, machine=machine)
    return backend
