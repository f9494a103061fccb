"""A checkpoint as an OpenVINO model, by the opset alone: no torch, no exporter.

The model is stateful and has the inputs and outputs that exported causal models have (`input_ids`,
`attention_mask`, `position_ids`, `beam_idx` -> `logits`), so `openvino_genai` runs it, and its
attention has the form that `paged_attention_transformation` recognises, so that we run it. Which
families there are, and what their configurations mean, is in `renga.models.families`. It does not
know tokenizers, templates or scheduling.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from renga.engine.checkpoint import Matrix, read_config, read_weights
from renga.engine.graph.builder import Builder
from renga.engine.graph.drawn import random_weights
from renga.engine.graph.matrices import Matrices, Precision
from renga.models.families import read_network, text_config

__all__ = ["WORDS", "build", "convert", "random_weights"]

WORDS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""What a model folder has beside its graph and configuration, copied as it is."""


def convert(
    checkpoint: Path,
    out: Path,
    *,
    weight_bits: Precision = 8,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> None:
    """Write `out/openvino_model.xml` and `.bin` from a Hugging Face checkpoint folder.

    `config.json`, that of the text alone and with the family's defaults, and where they exist the
    tokenizer's files are put beside them.

    Args:
        checkpoint: the folder with `config.json` and `*.safetensors`.
        out: the folder to write; made where it does not exist.
        weight_bits: see `build`.
        progress: called with how many elements of the weights are done, and of how many.

    Raises:
        CheckpointError: a file cannot be read, or a tensor is missing, odd or too many.
        SetupError: the configuration asks for what is not built.
    """
    config = text_config(read_config(checkpoint), checkpoint.name)
    weights = read_weights(checkpoint)
    model = build(config, weights, weight_bits=weight_bits, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)
    if checkpoint.resolve() != out.resolve():
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name in WORDS:
            if (checkpoint / name).exists():
                shutil.copyfile(checkpoint / name, out / name)


def build(
    config: Mapping[str, Any],
    weights: Mapping[str, Matrix],
    *,
    weight_bits: Precision = 8,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> ov.Model:
    """The stateful model of a configuration and its weights (Hugging Face names).

    Args:
        config: a `config.json`.
        weights: arrays, or tensors of a checkpoint that are read in parts.
        weight_bits: 8 stores matrices as int8 with a scale per row, "stored" as they are stored in
            a checkpoint, None as float32.
        progress: as in `convert`.

    Raises:
        CheckpointError: a tensor is missing, has another shape, or is not one of the family's.
        SetupError: the configuration asks for what is not built.
    """
    if weight_bits not in (8, "stored", None):
        raise ValueError(f"weight_bits: {weight_bits!r}; 8, 'stored' or None is expected")
    network = read_network(config)
    matrices = Matrices(weights, weight_bits, progress)
    model = Builder(network, matrices).model()
    matrices.check_all_used(tied=network.tied)
    return model
