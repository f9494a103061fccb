"""What a model's keys and values take in memory, told from its shape before anything is loaded.

Owns the rule how they are stored where nothing is configured. It loads nothing; what the compiled
model truly asks for is `model.py`'s word, and a test holds the two together.
"""

from collections.abc import Mapping
from typing import Any, Literal

from renga.engine.messages import EngineSettings

Stored = Literal["u8", "bf16", "f32"]

_ELEMENT_BYTES: dict[Stored, int] = {"bf16": 2, "f32": 4}
_BLOCK = 32
# Quantized keys have a scale and a zero point for each channel of a block, values for each token.
_KEY_ROWS, _VALUE_EXTRA = 40, 8


def stored_precision(settings: EngineSettings) -> Stored:
    """How the keys and values of an engine with these settings are stored."""
    if settings.precision == "exact":
        return "f32"
    if settings.kv_precision != "auto":
        return settings.kv_precision
    return "u8"


def token_bytes(config: Mapping[str, Any], stored: Stored) -> int | None:
    """Bytes that one token takes in all layers together; None where `config.json` does not say."""
    layers, heads, width = (_shape(config, name) for name in ("layers", "heads", "width"))
    if not (layers and heads and width):
        return None
    if stored == "u8":
        return layers * heads * (_KEY_ROWS * width // _BLOCK + width + _VALUE_EXTRA)
    return layers * heads * 2 * width * _ELEMENT_BYTES[stored]


def _shape(config: Mapping[str, Any], name: str) -> int:
    """One measure of the model's shape, 0 where it is not a number."""
    queries = config.get("num_attention_heads")
    found: Any = None
    match name:
        case "layers":
            found = config.get("num_hidden_layers")
        case "heads":
            found = config.get("num_key_value_heads", queries)
        case "width":
            found = config.get("head_dim")
            hidden = config.get("hidden_size")
            if found is None and isinstance(queries, int) and isinstance(hidden, int) and queries:
                found = hidden // queries
    return found if isinstance(found, int) else 0
