"""From a training checkpoint to a model folder: Llama names, int8 graph, tokenizer, settings.

Owns the folder's `config.json` and `generation_config.json`. The graph itself is the engine's work.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from renga.engine import graph
from renga.engine.checkpoint import write_weights
from training import vocabulary
from training.model import Shape

WINDOW = 131_072
"""Tokens that the architecture allows: the first prompt of an agent at a terminal is 40,000 and more."""

END_OF_TEXT, TURN_END = 0, 2


def configuration(shape: Shape) -> dict[str, Any]:
    """The `config.json` of a Llama checkpoint of this shape."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "max_position_embeddings": WINDOW,
        "bos_token_id": None,
        "eos_token_id": TURN_END,
        "pad_token_id": END_OF_TEXT,
        "dtype": "float32",
    }


def checkpoint_folder(saved: Path, tokenizer: Path, out: Path) -> Shape:
    """Write a Llama checkpoint folder from a run's `checkpoint.pt` and a tokenizer folder."""
    state = torch.load(saved, map_location="cpu", weights_only=True)
    shape = Shape(**state["shape"])
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.float().numpy() for name, value in state["model"].items()}
    write_weights(out / "model.safetensors", weights)
    (out / "config.json").write_text(json.dumps(configuration(shape), indent=2) + "\n", "utf-8")
    settings = {
        "do_sample": False,  # drawn at 1.0, a model of this size goes astray within a sentence
        "eos_token_id": [TURN_END, END_OF_TEXT],
        "pad_token_id": END_OF_TEXT,
    }
    (out / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    vocabulary.write(vocabulary.load(tokenizer), out, WINDOW)
    return shape


def model_folder(checkpoint: Path, out: Path) -> int:
    """Write the int8 model folder from a Llama checkpoint folder; returns its size in bytes."""
    graph.convert(checkpoint, out, weight_bits=8)
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        shutil.copyfile(checkpoint / name, out / name)
    return sum(path.stat().st_size for path in out.iterdir())
