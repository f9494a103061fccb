"""Tiny checkpoints of every family that renga builds, as the family's own library writes them.

`transformers` makes the model and saves it: names of tensors, `config.json` and shards are its, not
ours. The words (a real `tokenizer.json` and chat template) are those of `tests.tiny_model`.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from tests.tiny_model import TURN_END, write_words

Config = dict[str, Any]

_TINY: Config = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 128,
    "vocab_size": 640,
    "max_position_embeddings": 2_048,
    "bos_token_id": None,
    "eos_token_id": TURN_END,
    "pad_token_id": 0,
}
_PHI: Config = {**_TINY, "num_attention_heads": 2, "num_key_value_heads": 1}
del _PHI["head_dim"]
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _longrope(half: int) -> Config:
    return {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0 + 0.01 * n for n in range(half)],
        "long_factor": [1.0 + 0.5 * n for n in range(half)],
    }


FAMILIES: dict[str, Config] = {
    "llama": {**_TINY, "model_type": "llama"},
    "llama3": {
        **_TINY,
        "model_type": "llama",
        "rope_parameters": _LLAMA3_ROPE,
        "tie_word_embeddings": True,
    },
    "qwen2": {**_TINY, "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {**_TINY, "model_type": "qwen3", "tie_word_embeddings": True},
    "mistral": {**_TINY, "model_type": "mistral", "sliding_window": None},
    "mistral-sliding": {**_TINY, "model_type": "mistral", "sliding_window": 24},
    "phi3": {**_PHI, "model_type": "phi3", "sliding_window": 40},
    "phi4-mini": {
        **_PHI,
        "model_type": "phi3",
        "rope_parameters": _longrope(12),
        "original_max_position_embeddings": 96,
        "tie_word_embeddings": True,
    },
    "smollm3": {
        **{key: value for key, value in _TINY.items() if key != "head_dim"},
        "model_type": "smollm3",
        "no_rope_layers": [1, 0],
        "tie_word_embeddings": True,
    },
    "granite": {
        **{key: value for key, value in _TINY.items() if key != "head_dim"},
        "model_type": "granite",
        "embedding_multiplier": 12.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.22,
        "logits_scaling": 0.5,
        "tie_word_embeddings": True,
    },
    "gemma": {**_TINY, "model_type": "gemma"},
    "gemma2": {
        **_TINY,
        "model_type": "gemma2",
        "query_pre_attn_scalar": 24,
        "sliding_window": 24,
        "attn_logit_softcapping": None,
    },
    "gemma3": {
        **_TINY,
        "model_type": "gemma3_text",
        "num_hidden_layers": 3,
        "query_pre_attn_scalar": 24,
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
}
"""The configuration of each, by a name for tests; their `vocab_size` is the tokenizer's."""


def make_model(config: Config, seed: int = 0) -> Any:
    """transformers' own float32 model of that configuration, with random weights.

    The layers outweigh the embeddings, so that its greedy text wanders and does not repeat itself.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = AutoConfig.for_model(**config)
    model = AutoModelForCausalLM.from_config(kind, attn_implementation="eager").float().eval()
    tied = bool(model.config.tie_word_embeddings)
    with torch.no_grad():
        for name, value in model.named_parameters():
            draw = torch.Generator().manual_seed(zlib.crc32(f"{seed}{name}".encode()))
            fresh = torch.randn(value.shape, generator=draw)
            spread = _spread(name, value, config)
            value.copy_(fresh * spread + _centre(name, value, config, tied))
    return model


def _spread(name: str, value: Any, config: Config) -> float:
    if value.ndim == 1:
        return 0.1
    if name.endswith("embed_tokens.weight"):
        # Gemma multiplies embeddings by the root of their width, Granite by a factor.
        return 0.08 if config["model_type"].startswith("gemma") else 0.3 / _factor(config)
    gain = 3.0 if any(part in name for part in ("q_proj", "k_proj", "qkv_proj")) else 2.0
    return float(gain / value.shape[-1] ** 0.5)


def _factor(config: Config) -> float:
    return float(config.get("embedding_multiplier", 1.0))


def _centre(name: str, value: Any, config: Config, tied: bool) -> float:
    """Norms gain about 1, the last one more; Gemma stores how far a gain is from 1."""
    if value.ndim > 1 or name.endswith("bias"):
        return 0.0
    middle = 4.0 if name == "model.norm.weight" and tied else 1.0
    return middle - 1.0 if config["model_type"].startswith("gemma") else middle


def make_checkpoint(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "float32",
    shard_size: str = "1GB",
    **changes: Any,
) -> Path:
    """An ordinary repository of that family in `folder`: weights, configuration and words.

    Args:
        family: a key of `FAMILIES`.
        folder: made where it does not exist.
        seed: of the random weights.
        dtype: "float32", "float16" or "bfloat16", in which the weights are stored.
        shard_size: the most that one file holds, as transformers spells it: "100KB".
        **changes: fields of `config.json`.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = {**FAMILIES[family], **changes}
    model = make_model(config, seed).to(getattr(torch, dtype))
    write_words(folder)
    model.save_pretrained(folder, max_shard_size=shard_size)
    generation = {"eos_token_id": [TURN_END], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return folder
