"""The model under measurement: its folder, its size, and what one token costs it at least.

Owns the arithmetic of ceilings: operations and bytes that no engine can avoid. It reads
`config.json` alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renga.models.find import ModelFolder
from renga.models.locate import SHIPPED

LARGE = 300_000_000  # parameters from which on the bars of the 0.6B shape are meant
KV_TOKENS = 32_768  # what every engine may keep, in tokens


@dataclass(frozen=True)
class Subject:
    """A model. `random`: its weights mean nothing, and no answer of it ends by itself."""

    name: str
    folder: Path
    random: bool
    vocab: int
    parameters: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    embedding: int
    """Parameters of the embeddings, which one token does not multiply with."""
    weight_bytes: int

    @classmethod
    def of(cls, model: ModelFolder) -> "Subject":
        """From a folder that was found whole."""
        config = _read(model.path / "config.json")
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        return cls(
            name=model.name,
            folder=model.path,
            random=bool(config.get("random_weights", False)),
            vocab=model.vocab,
            parameters=model.parameters,
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            embedding=model.vocab * hidden,
            weight_bytes=model.weight_bytes,
        )

    @property
    def bars(self) -> str:
        """Which bars are meant: `0.6b`, `shipped`, or none."""
        if self.name.startswith(SHIPPED):
            return "shipped"
        return "0.6b" if self.parameters >= LARGE else ""

    @property
    def kv_bytes(self) -> int:
        """Memory for `KV_TOKENS` tokens at 16 bits each."""
        return KV_TOKENS * 2 * self.layers * self.kv_heads * self.head_dim * 2

    def prefill_flops(self, tokens: int) -> float:
        """Operations for a prompt: a product with every weight of the layers, and attention.

        The vocabulary's projection is needed for the last token alone.
        """
        attention = 2 * self.layers * self.heads * self.head_dim * tokens**2
        return 2 * (self.parameters - self.embedding) * tokens + 2 * self.embedding + attention

    def words(self) -> str:
        """One line for the head of a table."""
        kind = "random weights" if self.random else "trained"
        return f"{self.name}: {self.parameters / 1e6:,.1f}M parameters, {kind}"


def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
