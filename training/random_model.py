"""`python -m training.random_model`: a model of a given shape with random weights, in two formats.

What it writes is for measuring speed: an int8 graph for this engine and for openvino_genai, and a
q8_0 GGUF for llama.cpp. Owned rule: both hold the very same numbers. Every matrix is drawn on a
grid that both formats keep exactly: whole steps up to 127 of a scale that 16 bits hold, with a full
step in each group of 32. No token that ends a turn is ever drawn greedily: its row is zero.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from renga.engine import graph
from training import gguf_export
from training.chat import END_OF_TEXT, SPECIALS, TURN_END
from training.vocabulary import TEMPLATE

GROUP = 32  # weights that share a scale in q8_0
STEPS = 127
SPREAD = 40  # standard deviation of the drawn steps, before a group's full one

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "vocab_size": 151_936,
    },
    "tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 256,
        "vocab_size": 1024,
    },
}


def configuration(shape: str) -> dict[str, Any]:
    """The `config.json` of a shape: Qwen3's architecture, with its norms of queries and keys."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **SHAPES[shape],
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": SPECIALS.index(TURN_END),
        "pad_token_id": SPECIALS.index(END_OF_TEXT),
        "random_weights": True,  # no field of the format: it tells who measures what it is
    }


class Drawn(Mapping[str, np.ndarray]):
    """Weights by their Hugging Face names, each drawn when it is asked for and the same each time.

    Gains are so that greedy text wanders and does not repeat itself, and yet a small difference in
    arithmetic does not grow from layer to layer until two engines agree in nothing.
    """

    def __init__(self, config: Mapping[str, Any], seed: int = 0) -> None:
        self._seed = seed
        self._sizes = _sizes(config)

    def __getitem__(self, name: str) -> np.ndarray:
        """The float32 tensor of that name."""
        (*rows, columns), gain = self._sizes[name]
        draw = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        if not rows:
            noise = draw.standard_normal(columns, dtype=np.float32)
            return gain * (1 + np.float32(0.1) * noise)
        steps = draw.standard_normal((*rows, columns), dtype=np.float32)
        steps *= np.float32(SPREAD)
        np.clip(np.rint(steps, out=steps), -STEPS, STEPS, out=steps)
        steps[:, ::GROUP] = np.where(steps[:, ::GROUP] < 0, -STEPS, STEPS)
        # In place: the largest matrix takes 0.6 GB.
        steps *= np.float32(np.float16(gain / np.sqrt(columns) / SPREAD))
        if name == "model.embed_tokens.weight":
            steps[: len(SPECIALS)] = 0
        return steps

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the network."""
        return iter(self._sizes)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sizes)


def _sizes(config: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.float32]]:
    """Shape and gain of every tensor."""
    hidden, inner, width = (
        config["hidden_size"],
        config["intermediate_size"],
        config["head_dim"],
    )
    queries = config["num_attention_heads"] * width
    keys = config["num_key_value_heads"] * width
    add = 1.6 / np.sqrt(config["num_hidden_layers"])
    layer: dict[str, tuple[tuple[int, ...], float]] = {
        "input_layernorm": ((hidden,), 1.0),
        "self_attn.q_proj": ((queries, hidden), 1.0),
        "self_attn.k_proj": ((keys, hidden), 1.0),
        "self_attn.v_proj": ((keys, hidden), 1.0),
        "self_attn.o_proj": ((hidden, queries), add),
        "self_attn.q_norm": ((width,), 1.5),
        "self_attn.k_norm": ((width,), 1.5),
        "post_attention_layernorm": ((hidden,), 1.0),
        "mlp.gate_proj": ((inner, hidden), 1.0),
        "mlp.up_proj": ((inner, hidden), 1.0),
        "mlp.down_proj": ((hidden, inner), add),
    }
    sizes: dict[str, tuple[tuple[int, ...], float]] = {
        "model.embed_tokens": ((config["vocab_size"], hidden), 0.3)
    }
    for number in range(config["num_hidden_layers"]):
        sizes |= {f"model.layers.{number}.{name}": size for name, size in layer.items()}
    sizes["model.norm"] = ((hidden,), 4.0)
    return {f"{name}.weight": (size, np.float32(gain)) for name, (size, gain) in sizes.items()}


def alphabet() -> list[str]:
    """The letters of byte-level BPE, in the order of the bytes: printable ones stand as they are."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(rest)) for byte in range(256)]


def vocabulary(size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges: special tokens, bytes, and then words of two and three ASCII letters.

    Only ASCII, so that nearly any token is text by itself: no server holds it back as half of a
    character, and the time of the first token is the time of the first text.
    """
    tokens = [*SPECIALS, *alphabet()]
    if size < len(tokens):
        raise ValueError(f"vocab_size: {size}; at least {len(tokens)} are needed")
    letters = [chr(code) for code in range(33, 127)]
    pairs = [(a, b) for a, b in itertools.product(letters, repeat=2)]
    triples = ((a + b, c) for (a, b), c in itertools.product(pairs, letters))
    merges = list(itertools.islice(itertools.chain(pairs, triples), size - len(tokens)))
    return [*tokens, *(a + b for a, b in merges)], merges


def write_words(config: Mapping[str, Any], folder: Path) -> None:
    """The tokenizer's files and the template."""
    tokens, merges = vocabulary(config["vocab_size"])
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    digits = {"type": "Digits", "individual_digits": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, **flags, "special": True}
            for number, text in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, {**level, "use_regex": True}],
        },
        "post_processor": None,
        "decoder": {**level, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [f"{a} {b}" for a, b in merges],
        },
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")


def write_graph(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], folder: Path) -> None:
    """The int8 graph with its settings."""
    generation = {
        "do_sample": False,
        "eos_token_id": [config["eos_token_id"]],
        "pad_token_id": config["pad_token_id"],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation) + "\n", "utf-8")
    model = graph.build(config, weights)
    ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)


def write_gguf(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], path: Path) -> None:
    """The same weights for llama.cpp: matrices as q8_0, norms as float32."""
    tokens, merges = vocabulary(config["vocab_size"])
    words = gguf_export.Words(tokens, frozenset(SPECIALS), frozenset(), merges, TEMPLATE)
    gguf_export.write(config, weights, words, path, small=True)


def main(words: list[str]) -> int:
    """Write both, or what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.random_model",
        description="A model with random weights: DIR/openvino_model.xml and DIR/model.gguf.",
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), default="qwen3-0.6b")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-gguf", action="store_true", help="the graph alone")
    flags = parser.parse_args(words)
    config = configuration(flags.shape)
    weights = Drawn(config, flags.seed)
    flags.out.mkdir(parents=True, exist_ok=True)
    write_words(config, flags.out)
    write_graph(config, weights, flags.out)
    if not flags.no_gguf:
        write_gguf(config, weights, flags.out / "model.gguf")
    size = sum(path.stat().st_size for path in flags.out.iterdir())
    print(f"{flags.out}: {flags.shape}, {size / 1e6:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
