"""Random weights for a Llama or Qwen 3 configuration: a model for tests and for measuring speed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from renga.models.families import read_network


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights by their Hugging Face names, the same for the same seed.

    The layers outweigh the embeddings, so that its greedy text wanders and does not repeat itself.
    """
    shape = read_network(config)
    draw = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        drawn = draw.standard_normal((rows, columns)) * gain / np.sqrt(columns)
        return np.asarray(drawn, dtype=np.float32)

    weights = {"model.embed_tokens.weight": matrix(shape.vocab, shape.hidden, 0.3)}
    for layer in range(len(shape.layers)):
        at = f"model.layers.{layer}."
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        weights[at + "self_attn.q_proj.weight"] = matrix(queries, shape.hidden, 3)
        weights[at + "self_attn.k_proj.weight"] = matrix(keys, shape.hidden, 3)
        weights[at + "self_attn.v_proj.weight"] = matrix(keys, shape.hidden)
        weights[at + "self_attn.o_proj.weight"] = matrix(shape.hidden, queries, 2)
        weights[at + "mlp.gate_proj.weight"] = matrix(shape.inner, shape.hidden, 2)
        weights[at + "mlp.up_proj.weight"] = matrix(shape.inner, shape.hidden, 2)
        weights[at + "mlp.down_proj.weight"] = matrix(shape.hidden, shape.inner, 2)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}{norm}.weight"] = 1 + 0.1 * matrix(1, shape.hidden)[0]
    weights["model.norm.weight"] = 4 + 0.4 * matrix(1, shape.hidden)[0]
    if not shape.tied:
        weights["lm_head.weight"] = matrix(shape.vocab, shape.hidden)
    return weights
