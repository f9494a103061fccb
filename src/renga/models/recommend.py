"""Which open models fit this machine: a dated table of them, and what each takes of memory.

Owns the rule what fitting means. The table is `recommended.toml`; it is read, never fetched.
"""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TABLE: Final = "recommended.toml"
WINDOW: Final = 8_192  # tokens that a model is reckoned with; a larger one takes more
PROCESS_GB: Final = 0.3


@dataclass(frozen=True)
class Recommended:
    """One row. `download` and `weights` in GB, `token` in bytes; `name` is what is pulled."""

    name: str
    tier: str
    license: str
    parameters: str
    download: float
    weights: float
    token: int
    about: str
    sees: bool = False

    @property
    def memory(self) -> float:
        """GB that it takes with WINDOW tokens of context: weights, keys and values, process."""
        return self.weights + self.token * WINDOW / 1e9 + PROCESS_GB

    @property
    def is_gguf(self) -> bool:
        """Whether it needs the extra for GGUF."""
        return "gguf" in self.name.lower()


def read_table() -> tuple[datetime.date, tuple[Recommended, ...]]:
    """The table's date and its rows, in its order."""
    text = (Path(__file__).parent / TABLE).read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return table["date"], tuple(Recommended(**row) for row in table["models"])


def fitting(rows: tuple[Recommended, ...], memory: int | None) -> tuple[Recommended, ...]:
    """The rows that fit into so many bytes, in their order; all where nobody knows."""
    return rows if memory is None else tuple(r for r in rows if r.memory * 1e9 <= memory)
