"""The decoder that is trained: Llama's architecture, written for a packed training batch.

Owns the shapes and the names of the weights (those of a Llama checkpoint). Documents packed into one
row do not see each other: the attention mask is built from document numbers. Knows nothing of text,
files or optimizers, and needs torch alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder; `parameters` counts tied embeddings once."""

    vocab: int = 8192
    width: int = 320
    layers: int = 6
    heads: int = 5
    kv_heads: int = 5
    inner: int = 896
    head_dim: int = 64
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-5

    @property
    def parameters(self) -> int:
        """How many numbers the checkpoint of this shape holds."""
        attention = self.width * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        layer = attention + 3 * self.width * self.inner + 2 * self.width
        return self.layers * layer + self.vocab * self.width + self.width


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale, computed in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return (x32 * scale * self.weight).to(x.dtype)


def rotation(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each `[batch, 1, tokens, head_dim]`, for rotate-half position coding."""
    steps = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() * theta ** (-steps / head_dim)
    angles = torch.cat((angles, angles), dim=-1)[:, None]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotation to `[batch, heads, tokens, head_dim]`."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention within a document; `kv_heads` may be fewer than `heads`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inner, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.width, inner, bias=False)
        self.k_proj = nn.Linear(shape.width, kv, bias=False)
        self.v_proj = nn.Linear(shape.width, kv, bias=False)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        batch, tokens, _ = x.shape
        size = self.shape.head_dim
        q = self.q_proj(x).view(batch, tokens, -1, size).transpose(1, 2)
        k = self.k_proj(x).view(batch, tokens, -1, size).transpose(1, 2)
        v = self.v_proj(x).view(batch, tokens, -1, size).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=self.shape.heads != self.shape.kv_heads,
        )
        joined: Tensor = self.o_proj(out.transpose(1, 2).reshape(batch, tokens, -1))
        return joined


class Feed(nn.Module):
    """The gated feed-forward part (SiLU gate)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """One block: attention, then feed-forward, each behind a norm and added back."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.norm_eps)
        self.mlp = Feed(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Body(nn.Module):
    """Embeddings, layers and the last norm: token ids in, hidden states out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.norm_eps)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        cos, sin = rotation(positions, self.shape.head_dim, self.shape.rope_theta)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        out: Tensor = self.norm(x)
        return out


class Decoder(nn.Module):
    """The language model with tied embeddings; `model.` prefixes its weights as in a checkpoint."""

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                spread = 0.02 if "embed" in name else weight.shape[1] ** -0.5 / (4.0 if deep else 1)
                nn.init.normal_(weight, std=spread, generator=generator)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary for hidden states of any leading shape."""
        return F.linear(hidden, self.model.embed_tokens.weight)
