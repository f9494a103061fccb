"""A projector with random weights for a GGUF model: what one sees with, in LLaVA's form.

Images of 56 x 56 pixels are 16 patches, and so many tokens: a CLIP of two layers, and two
matrices from its width to that of the model's embeddings.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

SIDE, PATCH, WIDTH, INNER, LAYERS = 56, 14, 32, 64, 2
TOKENS = (SIDE // PATCH) ** 2


def write_projector(path: Path, embeddings: int, *, seed: int = 0) -> Path:
    """The file at `path`, for a model whose embeddings have so many numbers."""
    draw = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(SIDE)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(INNER)
    writer.add_vision_block_count(LAYERS)
    writer.add_vision_head_count(2)
    writer.add_vision_projection_dim(embeddings)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_use_gelu(True)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)

    def linear(name: str, rows: int, columns: int, gain: float = 1.0) -> None:
        drawn = draw.standard_normal((rows, columns)) * gain / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", drawn.astype(np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    patches = draw.standard_normal((WIDTH, 3, PATCH, PATCH)) / np.sqrt(PATCH)
    writer.add_tensor("v.patch_embd.weight", patches.astype(np.float32))
    for name, shape in {
        "class_embd": (WIDTH,),
        "position_embd.weight": (TOKENS + 1, WIDTH),
    }.items():
        writer.add_tensor(f"v.{name}", draw.standard_normal(shape).astype(np.float32) * 0.1)
    for name in (
        "v.pre_ln",
        "v.post_ln",
        *(f"v.blk.{i}.ln{k}" for i in range(LAYERS) for k in (1, 2)),
    ):
        norm(name)
    for layer in range(LAYERS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            linear(f"v.blk.{layer}.{part}", WIDTH, WIDTH)
        linear(f"v.blk.{layer}.ffn_up", INNER, WIDTH)
        linear(f"v.blk.{layer}.ffn_down", WIDTH, INNER)
    linear("mm.0", embeddings, WIDTH, 2.0)
    linear("mm.2", embeddings, embeddings, 2.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
