"""A tiny vision-language model with random weights, in the graphs that openvino_genai reads.

LLaVA's form: an image is cut into patches, each becomes one token of the language model. Its words
and its language model are `tests.tiny_model`'s; only where tokens become vectors, it is cut in two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from tests.tiny_model import CONFIG, write_model
from training.vocabulary import TEMPLATE

SIDE, PATCH = 56, 14  # pixels
_MEAN = [0.5, 0.5, 0.5]
PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": SIDE, "width": SIDE},
    "size": {"shortest_edge": SIDE},
    "image_mean": _MEAN,
    "image_std": _MEAN,
}


def write_seeing_model(folder: Path) -> Path:
    """The whole folder. Returns it."""
    write_model(folder, template=TEMPLATE)
    graph = folder / "openvino_model.xml"
    _save(_language(graph), folder / "openvino_language_model.xml")
    _save(_embeddings(graph), folder / "openvino_text_embeddings_model.xml")
    _save(_eyes(), folder / "openvino_vision_embeddings_model.xml")
    for name in ("openvino_model.xml", "openvino_model.bin", "model.safetensors"):
        (folder / name).unlink()
    config = {"model_type": "llava", "text_config": CONFIG, "vocab_size": CONFIG["vocab_size"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR), encoding="utf-8")
    _write_tokenizers(folder)
    return folder


def _save(model: ov.Model, file: Path) -> None:
    ov.save_model(model, file, compress_to_fp16=False)


def _cut(graph: Path) -> tuple[ov.Model, Any, Any]:
    """A model, its parameter of token ids, and the node that makes vectors of them."""
    model = ov.Core().read_model(graph)
    ids = model.input("input_ids").get_node()
    convert = next(n for n in _users(ids) if n.get_type_name() == "Convert")
    return model, ids, _users(convert)[0]


def _users(node: Any) -> list[Any]:
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def _language(graph: Path) -> ov.Model:
    """From vectors to logits."""
    model, ids, gather = _cut(graph)
    vectors = _parameter("inputs_embeds", [-1, -1, CONFIG["hidden_size"]])
    for target in gather.output(0).get_target_inputs():
        target.replace_source_output(vectors.output(0))
    for user in _users(ids):
        if user.get_type_name() == "ShapeOf":
            user.input(0).replace_source_output(vectors.output(0))
    model.add_parameters([vectors])
    model.remove_parameter(ids)
    model.validate_nodes_and_infer_types()
    return model


def _embeddings(graph: Path) -> ov.Model:
    """From token ids to vectors."""
    _, ids, gather = _cut(graph)
    gather.output(0).set_names({"inputs_embeds"})
    ids.output(0).set_names({"input"})
    return ov.Model([op.result(gather.output(0))], [ids], "text_embeddings")


def _eyes() -> ov.Model:
    """From pixels to vectors, one for each patch."""
    width = CONFIG["hidden_size"]
    pixels = _parameter("pixel_values", [-1, 3, -1, -1])
    drawn = np.random.default_rng(0).normal(0, 0.05, (width, 3, PATCH, PATCH))
    seen = op.convolution(
        pixels, op.constant(drawn.astype(np.float32)), [PATCH, PATCH], [0, 0], [0, 0], [1, 1]
    )
    rows = op.reshape(seen, op.constant(np.array([0, width, -1])), special_zero=True)
    patches = op.transpose(rows, op.constant(np.array([0, 2, 1])))
    patches.output(0).set_names({"last_hidden_state"})
    return ov.Model([op.result(patches)], [pixels], "vision_embeddings")


def _parameter(name: str, shape: list[int]) -> Any:
    node = op.parameter(ov.PartialShape(shape), ov.Type.f32)
    node.set_friendly_name(name)
    node.output(0).set_names({name})
    return node


def _write_tokenizers(folder: Path) -> None:
    from openvino_tokenizers import convert_tokenizer
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    forth, back = convert_tokenizer(words, with_detokenizer=True)
    ov.save_model(forth, folder / "openvino_tokenizer.xml")
    ov.save_model(back, folder / "openvino_detokenizer.xml")
