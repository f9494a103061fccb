"""A start from which copying need not be discovered: two kinds of heads are built by hand.

Owns the construction. A head of layer 0 looks one token back and notes in the last dimensions of the
width which token stood there; heads of later layers look for the place where the present token was noted and bring the
token that stands at it. That is how trained models copy (Olsson et al. 2022, induction heads); small
ones find it late and only from many examples. Everything stays trainable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.model import Attention, Decoder
from training.optimizer import Kinship

SPREAD = 0.5
"""Of the embeddings. Muon moves every matrix at one pace, so the residual stream must be large enough
that the layers' first steps do not drown the tokens in it."""

CONSTANT = 2.5
"""In dimension 0 of every embedding: what a head that looks for a place, not for a token, holds on to."""

FINAL_SCALE = 0.05
"""Of the last norm: keeps the logits of such large, tied embeddings small at first."""

FORM_SHARE = 0.4
"""How large what a word's form adds to its embedding is beside the word's own part."""

NEAR_PAIRS = 10
"""Fast-turning pairs of a head's dimensions: they tell one place from the next."""


def _spans(attention: Attention, head: int) -> slice:
    size = attention.shape.head_dim
    return slice(head * size, (head + 1) * size)


def _looks_back(attention: Attention, head: int, content: Tensor, steps: int = 1) -> None:
    """Make a head attend `steps` tokens back and write what stands there into the notes."""
    shape, rows = attention.shape, _spans(attention, head)
    half = shape.head_dim // 2
    pairs = torch.arange(min(NEAR_PAIRS, half))
    angles = steps * shape.rope_theta ** (-2 * pairs.float() / shape.head_dim)
    query, key = torch.zeros(shape.head_dim), torch.zeros(shape.head_dim)
    query[pairs] = 1.3
    key[pairs], key[pairs + half] = 1.3 * angles.cos(), 1.3 * angles.sin()
    for weight, vector in ((attention.q_proj.weight, query), (attention.k_proj.weight, key)):
        weight[rows] = 0.0
        weight[rows, 0] = vector
    attention.v_proj.weight[rows] = 0.0
    attention.v_proj.weight[rows, : content.shape[1]] = content
    notes = slice(shape.width - content.shape[0], shape.width)
    attention.o_proj.weight[:, rows] = 0.0
    attention.o_proj.weight[notes, rows] = 1.5 * SPREAD * torch.eye(*content.shape[:1])


def _brings(attention: Attention, head: int, content: Tensor, part: int) -> None:
    """Make a head find where the present token was noted and bring the token at that place.

    `part` 0 or 1 says which half of the notes it compares; slowly turning pairs carry it.
    """
    shape, rows = attention.shape, _spans(attention, head)
    half, quarter = shape.head_dim // 2, shape.head_dim // 4
    used = torch.cat((torch.arange(quarter, half), torch.arange(half + quarter, 2 * half)))
    chosen = torch.arange(part * half, part * half + half)
    first_note = shape.width - content.shape[0]
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
        weight[rows] = 0.0
    query = torch.zeros(shape.head_dim, content.shape[1])
    query[used] = 2.2 * content[chosen]
    attention.q_proj.weight[rows, : content.shape[1]] = query
    key = torch.zeros(shape.head_dim, content.shape[0])
    key[used, chosen] = 1.6
    attention.k_proj.weight[rows, first_note:] = key
    attention.v_proj.weight[rows, : content.shape[1]] = content
    attention.o_proj.weight[:, rows] = 0.0
    attention.o_proj.weight[: content.shape[1], rows] = 2.5 * SPREAD * content.T


@torch.no_grad()
def seed_copying(model: Decoder, seed: int, kin: Kinship | None = None) -> None:
    """Set embeddings and attention of a fresh model so that it repeats what it saw before.

    With `kin`, forms of one word begin alike but for a part that is the form's.
    Raises ValueError where the shape has shared key heads or no room for the notes.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = model.shape
    if shape.kv_heads != shape.heads or shape.heads < 2 or shape.width <= 2 * shape.head_dim:
        raise ValueError(
            f"{shape}: seeding wants two or more heads, as many kv_heads, and a width above twice "
            "head_dim"
        )
    kept = shape.width - shape.head_dim
    table = model.model.embed_tokens.weight
    table.normal_(0.0, SPREAD, generator=generator)
    if kin is not None:
        looks = (
            torch.randn(int(kin.forms.max()) + 1, shape.width, generator=generator)
            * SPREAD
            * FORM_SHARE
        )
        table.copy_(table[kin.bases] + looks.to(table.device)[kin.forms])
    table[:, 0], table[:, kept:] = CONSTANT, 0.0
    wide = torch.randn(kept - 1, shape.width - kept, generator=generator)
    content = torch.zeros(shape.width - kept, kept)
    content[:, 1:] = torch.linalg.qr(wide).Q.T
    model.model.norm.weight.fill_(FINAL_SCALE)
    layers = [layer.self_attn for layer in model.model.layers]
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    _looks_back(layers[0], 0, content)
    _brings(layers[1], 0, content, 0)
    _brings(layers[1], 1, content, 1)
    if len(layers) > 3:
        _brings(layers[3], 0, content, 0)
