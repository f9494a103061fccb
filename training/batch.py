"""Packed rows as tensors, and the loss of a batch of them.

Owns the attention mask: documents that share a row do not see each other. Needs torch and numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.model import Decoder

PADDING = 255
"""The document number of a row's unused end."""


class Rows:
    """The packed rows of a folder, read in order and again from the start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("tokens", "weights", "documents")
        self._arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in names}
        self.count = len(self._arrays["tokens"])

    def tokens(self, start: int, count: int) -> int:
        """How many tokens `count` rows from `start` on hold, padding left out."""
        index = np.arange(start, start + count) % self.count
        return int((self._arrays["documents"][index] != PADDING).sum())

    def read(self, start: int, count: int, device: torch.device) -> dict[str, Tensor]:
        """`count` rows from `start` on, as int64 tensors `[count, length + 1]`."""
        index = np.arange(start, start + count) % self.count
        return {
            name: torch.from_numpy(array[index].astype(np.int64)).to(device)
            for name, array in self._arrays.items()
        }


def masked(documents: Tensor) -> tuple[Tensor, Tensor]:
    """Attention mask `[rows, 1, length, length]` and positions counted from each document's start."""
    length = documents.shape[1]
    same = documents[:, None, :, None] == documents[:, None, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    index = torch.arange(length, device=documents.device).expand_as(documents)
    first = torch.ones_like(documents, dtype=torch.bool)
    first[:, 1:] = documents[:, 1:] != documents[:, :-1]
    start = torch.where(first, index, 0).cummax(dim=1).values
    return same & causal, index - start


def losses(
    model: Decoder, body: Callable[..., Tensor], batch: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Loss summed with its weights, and the sum of the weights; logits only where they count."""
    documents = batch["documents"]
    mask, positions = masked(documents[:, :-1])
    counted = (documents[:, 1:] == documents[:, :-1]) & (documents[:, 1:] != PADDING)
    weights = (batch["weights"][:, 1:] * counted).flatten()
    chosen = weights.nonzero().squeeze(1)
    with torch.autocast(documents.device.type, torch.bfloat16):
        hidden = body(batch["tokens"][:, :-1], positions, mask)
        logits = model.logits(hidden.flatten(0, 1)[chosen])
    each = F.cross_entropy(
        logits.float(), batch["tokens"][:, 1:].flatten()[chosen], reduction="none"
    )
    scale = weights[chosen].float() / 10
    return (each * scale).sum(), scale.sum()
