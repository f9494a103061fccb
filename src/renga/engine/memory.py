"""What an engine will take of the machine, told from files alone before anything is loaded.

Owns how keys and values are stored where nothing is configured, how many of them there are, and the
words in which a model that does not fit is refused. What the compiled model truly asks for is
`model.py`'s word, and a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from renga.config import BackendConfig
from renga.engine.messages import EngineSettings
from renga.errors import SetupError
from renga.models.find import ModelFolder

Stored = Literal["u8", "bf16", "f32"]

# Without a setting: two full windows where they fit in so much, never less than one, in bytes.
KV_CEILING = 420 * 1024 * 1024
# Interpreter and runtime, measured at 110 MB, and what a step of a wide model needs beside.
PROCESS_BYTES = 250_000_000
# Where memory is short a window that nobody asked for shrinks, but not below this many tokens.
LEAST_WINDOW = 2_048
# A start may take so long, in seconds, and more for weights that are read at so many bytes each.
START_SECONDS, START_RATE = 60.0, 20_000_000

_ELEMENT_BYTES: dict[Stored, int] = {"bf16": 2, "f32": 4}
_BLOCK = 32
_LEAST_BLOCKS = 2  # an engine starts with no fewer
# Quantized keys have a scale and a zero point for each channel of a block, values for each token.
_KEY_ROWS, _VALUE_EXTRA = 40, 8


@dataclass(frozen=True)
class MemoryPlan:
    """The parts of what an engine takes, in bytes; `token` is None where no file says it."""

    weights: int
    kv: int | None
    token: int | None
    window: int

    @property
    def total(self) -> int:
        """All that should be kept for it."""
        return self.weights + (self.kv or 0) + PROCESS_BYTES


def engine_settings(backend: BackendConfig, model: ModelFolder) -> EngineSettings:
    """The settings of an engine as configured, memory left open. Raises SetupError."""
    if backend.window > model.longest:
        raise SetupError(
            f"backends.{backend.name}.window = {backend.window}; "
            f"accepted: 0 to {model.longest} for model '{model.name}'",
            "0 takes the model's own window",
        )
    return EngineSettings(
        model=str(model.path),
        threads=backend.threads or None,
        precision=backend.precision,
        max_running=backend.max_running,
        max_waiting=backend.max_waiting,
        kv_bytes=backend.kv_cache_mb * 1_000_000 or None,
        window=backend.window or model.window,
        start_seconds=START_SECONDS + model.weight_bytes / START_RATE,
        kv_precision=backend.kv_precision,
        draft_tokens=None if backend.draft_tokens < 0 else backend.draft_tokens,
        cache_share=backend.cache_share,
    )


def plan_memory(
    backend: BackendConfig, model: ModelFolder, free: int | None
) -> tuple[EngineSettings, MemoryPlan]:
    """The whole settings, and the memory that they mean, within `free` bytes where that is known.

    Raises SetupError where it does not fit, or the configuration contradicts itself.
    """
    settings = engine_settings(backend, model)
    token = token_bytes(model.config, stored_precision(settings))
    window = settings.window or model.window
    plan = MemoryPlan(model.weight_bytes, settings.kv_bytes, token, window)
    if token is not None and settings.kv_bytes is None:
        plan = _sized(plan, token, free, fixed=backend.window > 0)
    elif token is not None and settings.kv_bytes is not None:
        held = settings.kv_bytes // (token * _BLOCK) * _BLOCK
        if held < _LEAST_BLOCKS * _BLOCK:
            least = -(-_LEAST_BLOCKS * _BLOCK * token // 1_000_000)
            raise SetupError(
                f"backends.{backend.name}.kv_cache_mb = {backend.kv_cache_mb}; accepted: 0, or "
                f"{least} and more: a token of model '{model.name}' takes {token:,} bytes",
                "0 has it chosen",
            )
        if backend.window > held:
            raise SetupError(
                f"backends.{backend.name}.window = {backend.window} needs "
                f"{megabytes(backend.window * token)} of keys and values; kv_cache_mb = "
                f"{backend.kv_cache_mb} holds {held:,} tokens",
                "set kv_cache_mb higher, or to 0 to have it chosen, or window lower",
            )
        plan = MemoryPlan(plan.weights, plan.kv, token, min(window, held))
    if free is not None and plan.total > free:
        raise _too_large(backend, model, plan, free)
    return replace(settings, window=plan.window or settings.window, kv_bytes=plan.kv), plan


def _sized(plan: MemoryPlan, token: int, free: int | None, *, fixed: bool) -> MemoryPlan:
    """The plan with as many keys and values as are good to have and fit."""
    kv = default_kv_bytes(plan.window, token * _BLOCK)
    if free is None:
        return MemoryPlan(plan.weights, kv, token, plan.window)
    least = plan.window if fixed else min(plan.window, LEAST_WINDOW)
    room = free - plan.weights - PROCESS_BYTES
    kv = max(min(kv, room), -(-least // _BLOCK) * _BLOCK * token)
    blocks = kv // (token * _BLOCK)
    return MemoryPlan(
        plan.weights, blocks * token * _BLOCK, token, min(plan.window, blocks * _BLOCK)
    )


def default_kv_bytes(window: int, block_bytes: int) -> int:
    """Memory for keys and values where none is configured: two windows or fewer, at least one."""
    one = -(-window // _BLOCK)
    return max(one, min(2 * one, KV_CEILING // block_bytes)) * block_bytes


def _too_large(
    backend: BackendConfig, model: ModelFolder, plan: MemoryPlan, free: int
) -> SetupError:
    context = ""
    if plan.kv:
        each = f" ({plan.window:,} tokens of {plan.token:,} bytes)" if plan.token else ""
        context = f", its keys and values {megabytes(plan.kv)}{each}"
    return SetupError(
        f"model '{model.name}' does not fit into memory: its weights take "
        f"{megabytes(plan.weights)}{context}, its process {megabytes(PROCESS_BYTES)}; "
        f"{megabytes(free)} are free",
        f"set window or kv_cache_mb of backends.{backend.name} lower, or unload another model",
    )


def stored_precision(settings: EngineSettings) -> Stored:
    """How the keys and values of an engine with these settings are stored."""
    if settings.precision == "exact":
        return "f32"
    if settings.kv_precision != "auto":
        return settings.kv_precision
    # A wrong guess disturbs what a quantized block holds beside it.
    return "u8" if settings.draft_tokens == 0 else "bf16"


def token_bytes(config: Mapping[str, Any], stored: Stored) -> int | None:
    """Bytes that one token takes in all layers together; None where `config.json` does not say."""
    layers, heads, width = (_measure(config, name) for name in ("layers", "heads", "width"))
    if not (layers and heads and width):
        return None
    if stored == "u8":
        return layers * heads * (_KEY_ROWS * width // _BLOCK + width + _VALUE_EXTRA)
    return layers * heads * 2 * width * _ELEMENT_BYTES[stored]


def _measure(config: Mapping[str, Any], name: Literal["layers", "heads", "width"]) -> int:
    """One measure of the model's shape, 0 where it is not a number."""
    queries, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    found: Any
    match name:
        case "layers":
            found = config.get("num_hidden_layers")
        case "heads":
            found = config.get("num_key_value_heads") or queries
        case "width":
            found = config.get("head_dim")
            if found is None and isinstance(queries, int) and isinstance(hidden, int) and queries:
                found = hidden // queries
    return found if isinstance(found, int) else 0


def megabytes(size: int) -> str:
    """`size` bytes for a person: 66 MB, 13.3 GB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
