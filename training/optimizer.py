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
    """Learning rates at full scale, and Muon's momentum and weight decay."""

    matrices: float = 0.02
    embeddings: float = 0.01
    norms: float = 2e-3
    momentum: float = 0.95
    decay: float = 0.02


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


class Optimizer:
    """Both update rules over one model's weights, with state that can be saved."""

    def __init__(self, model: nn.Module, rates: Rates) -> None:
        self.rates = rates
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
        self._adam = torch.optim.AdamW(
            [
                {"params": tables, "lr": rates.embeddings, "full": rates.embeddings},
                {"params": norms, "lr": rates.norms, "full": rates.norms},
            ],
            betas=(0.9, 0.95),
            eps=1e-10,
            weight_decay=0.0,
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients at `scale` of the full rates, then clear them."""
        for group in self._adam.param_groups:
            group["lr"] = group["full"] * scale
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
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
        return {"adam": self._adam.state_dict(), "momenta": list(self._momenta.values())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state of the same model."""
        self._adam.load_state_dict(state["adam"])
        for mine, saved in zip(self._momenta.values(), state["momenta"], strict=True):
            mine.copy_(saved)
