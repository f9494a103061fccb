"""Muon for the matrices of the layers, AdamW for embeddings and norms, in one object.

Owns the update rules. Muon's step is the momentum made nearly orthogonal by a Newton-Schulz
iteration (Jordan et al. 2024), run on matrices of one shape together. Knows no schedule: the caller
passes the scale of the learning rates for each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315


@dataclass(frozen=True)
class Rates:
    """Learning rates at full scale, and Muon's momentum and weight decay.

    The decay holds the layers' outputs near the size of the embeddings. At a tenth of it the second
    layer came to write a hundred times that, the later ones no longer counted, and no text word was
    ever matched with a label. `own` and `own_decay` are of what sets a token apart from its kin, the latter a share per step.
    """

    matrices: float = 0.02
    embeddings: float = 0.01
    norms: float = 2e-3
    momentum: float = 0.95
    decay: float = 0.2
    own: float = 1e-3
    own_decay: float = 0.01


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of `[count, rows, columns]` matrices toward one."""
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * (gram @ gram)) @ x
    return (x.mT if tall else x).to(matrices.dtype)


@dataclass(frozen=True)
class Kinship:
    """Which tokens are forms of one word: per token the number of its base, and its form."""

    bases: Tensor
    forms: Tensor


class SharedTable:
    """An embedding table learned as a sum: of what forms of a word share, of the form, of the rest.

    Row t is `shared[base of t] + form[form of t] + own[t]`. Where the rest is held small, what is
    learned of one form of a word is learned of all, so that words can be compared across forms. The
    model keeps the plain table; its gradient is handed on to the parts, and their sum written back.
    """

    def __init__(self, table: nn.Parameter, kin: Kinship, weights: Tensor | None = None) -> None:
        self._table, self._kin = table, kin
        self.shared = nn.Parameter(torch.zeros_like(table.data))
        self.form = nn.Parameter(torch.zeros_like(table.data[: int(kin.forms.max()) + 1]))
        self.own = nn.Parameter(torch.zeros_like(table.data))
        self.split(torch.ones(len(table)) if weights is None else weights)

    def _summed(self, rows: Tensor, index: Tensor, like: Tensor) -> Tensor:
        return torch.zeros_like(like).index_add_(0, index, rows)

    @torch.no_grad()
    def split(self, weights: Tensor) -> None:
        """Take the table apart: means over kin, then over forms, by `weights`."""
        kin, rest = self._kin, self._table.data.clone()
        scale = weights[:, None].to(rest.device)
        for part, index in ((self.shared, kin.bases), (self.form, kin.forms)):
            total = self._summed(scale, index, part.data[:, :1])
            part.copy_(self._summed(rest * scale, index, part.data) / total.clamp(min=1e-9))
            rest -= part.data[index]
        self.own.copy_(rest)

    @torch.no_grad()
    def hand_on(self) -> None:
        """Give the parts their gradients and clear the table's."""
        gradient = self._table.grad
        if gradient is not None:
            self.shared.grad = self._summed(gradient, self._kin.bases, self.shared)
            self.form.grad = self._summed(gradient, self._kin.forms, self.form)
            self.own.grad, self._table.grad = gradient.clone(), None

    @torch.no_grad()
    def write(self, shrink: float) -> None:
        """Take `shrink` off every token's own part and write the sum into the table."""
        self.own.mul_(1 - shrink)
        self._table.copy_(self.shared[self._kin.bases] + self.form[self._kin.forms] + self.own)


class Optimizer:
    """Both update rules over one model's weights, with state that can be saved.

    With `kin` the embedding table is learned as a `SharedTable`.
    """

    def __init__(self, model: nn.Module, rates: Rates, kin: Kinship | None = None) -> None:
        self.rates = rates
        self.table: SharedTable | None = None
        self._shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        tables, norms = [], []
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                norms.append(weight)
            elif "embed" in name:
                tables.append(weight)
            else:
                self._shapes.setdefault(tuple(weight.shape), []).append(weight)
        self._momenta = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self._shapes.items()
        }
        groups = [(tables, rates.embeddings), (norms, rates.norms)]
        if kin is not None:
            self.table = SharedTable(tables[0], kin)
            groups[0] = ([self.table.shared, self.table.form], rates.embeddings)
            groups.append(([self.table.own], rates.own))
        self._adam = torch.optim.AdamW(
            [{"params": weights, "lr": rate, "full": rate} for weights, rate in groups],
            betas=(0.9, 0.95),
            eps=1e-10,
            weight_decay=0.0,
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients at `scale` of the full rates, then clear them."""
        for group in self._adam.param_groups:
            group["lr"] = group["full"] * scale
        if self.table is not None:
            self.table.hand_on()
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        if self.table is not None:
            self.table.write(self.rates.own_decay * scale)
        for shape, weights in self._shapes.items():
            gradient = torch.stack([w.grad for w in weights if w.grad is not None])
            momentum = self._momenta[shape].lerp_(gradient, 1 - self.rates.momentum)
            update = orthogonal(gradient.lerp(momentum, self.rates.momentum))
            rate = self.rates.matrices * scale
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            for weight, change in zip(weights, update, strict=True):
                weight.mul_(1 - rate * self.rates.decay).add_(change, alpha=-rate * stretch)
                weight.grad = None

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        parts = [] if self.table is None else [self.table.shared, self.table.form, self.table.own]
        return {
            "adam": self._adam.state_dict(),
            "momenta": list(self._momenta.values()),
            "parts": [part.data for part in parts],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state of the same model."""
        self._adam.load_state_dict(state["adam"])
        for mine, saved in zip(self._momenta.values(), state["momenta"], strict=True):
            mine.copy_(saved)
        if self.table is not None:
            parts = (self.table.shared, self.table.form, self.table.own)
            for part, saved in zip(parts, state["parts"], strict=True):
                part.data.copy_(saved)
