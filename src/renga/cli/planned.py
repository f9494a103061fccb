"""What each configured backend would be, told from files before anything is loaded.

Owns that `renga models` and `renga doctor` say of a model what its start would say, whatever its
kind. It starts nothing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from renga.config import BackendConfig
from renga.errors import SetupError

# What a kind runs on beside renga itself: module and extra.
EXTRAS = {
    "llamacpp": ("xllamacpp", "renga[gguf]"),
    "openvino_vlm": ("openvino_genai", "renga[vision]"),
}


@dataclass(frozen=True)
class Planned:
    """A backend's model: its size in words, window in tokens, memory in bytes and in words."""

    model: str
    size: str
    window: int
    total: int
    memory: str


def plan_backend(backend: BackendConfig, home: Path, free: int | None) -> Planned | None:
    """What `backend` would be with `free` bytes; None for one that has no model.

    Its kind is told already (`renga.models.locate.resolved`). Raises SetupError with what a start
    would stop at.
    """
    _check_extra(backend)
    match backend.kind:
        case "local":
            return _local(backend, home, free)
        case "llamacpp":
            return _gguf(backend, home, free)
        case "openvino_vlm":
            return _seeing(backend, home)
        case _:
            return None


def _check_extra(backend: BackendConfig) -> None:
    module, extra = EXTRAS.get(backend.kind, ("renga", ""))
    if importlib.util.find_spec(module) is None:
        raise SetupError(
            f"backend '{backend.name}': kind '{backend.kind}' needs the package {module}",
            f"pip install '{extra}'",
        )


def _local(backend: BackendConfig, home: Path, free: int | None) -> Planned:
    from renga.chat.render import ChatTemplate
    from renga.engine.memory import megabytes, plan_memory
    from renga.models.find import check_tokenizer, find_model

    model = find_model(backend.model, home)
    check_tokenizer(ChatTemplate.load(model.path).tokenizer.size, model)
    _, plan = plan_memory(backend, model, free)
    memory = f"{megabytes(plan.weights)} of weights, window {plan.window:,} tokens"
    if plan.kv and plan.token:
        memory += f" of {plan.token:,} bytes, {megabytes(plan.kv)} of keys and values"
    size = f"{model.parameters / 1e6:.1f}M parameters, {model.precision}"
    return Planned(model.name, size, plan.window, plan.total, memory)


def _gguf(backend: BackendConfig, home: Path, free: int | None) -> Planned:
    from renga.engine.memory import megabytes
    from renga.llamacpp.memory import plan
    from renga.models.gguf import find_gguf
    from renga.models.locate import locate

    found = locate(backend.model, home)
    model = find_gguf(found.path, found.name)
    fits = plan(backend, model, free)
    slots = f"{fits.slots} slots of {fits.window:,} tokens"
    memory = f"{megabytes(model.weight_bytes)} of weights, {slots}, {megabytes(fits.kv_bytes)}"
    size = f"{model.parameters / 1e6:.1f}M parameters, {model.precision}"
    return Planned(model.name, size, fits.window, fits.total, f"{memory} of keys and values")


def _seeing(backend: BackendConfig, home: Path) -> Planned:
    from renga.engine.memory import megabytes
    from renga.models.vision import find_seeing

    model = find_seeing(backend.model, home)
    window = min(backend.window or model.window, model.longest)
    memory = f"{megabytes(model.weight_bytes)} of weights, window {window:,} tokens"
    size = f"{model.architecture}, sees"
    return Planned(backend.model, size, window, model.weight_bytes, memory)
