"""A Llama or Qwen3 model of ours as a GGUF file: the same numbers in the form that llama.cpp reads.

Owned rule: both forms compute the same function. Weights come from a checkpoint or are read back
from an exported graph, int8 and scale multiplied, so that the file holds what the graph computes
with; the vocabulary, the template and which tokens end a turn come from the model's folder.

`python -m training.gguf_export FOLDER FILE` writes the GGUF of a model folder, such as the shipped
one's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Words:
    """A byte-level BPE vocabulary: tokens by id, which of them are control tokens or marks, merges."""

    tokens: Sequence[str]
    control: frozenset[str]
    marks: frozenset[str]
    merges: Sequence[tuple[str, str]]
    template: str

    @classmethod
    def of(cls, folder: Path) -> Words:
        """From the files of a model folder."""
        found = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        ids = {**found["model"]["vocab"], **{t["content"]: t["id"] for t in found["added_tokens"]}}
        tokens = [text for text, _ in sorted(ids.items(), key=lambda item: item[1])]
        control = frozenset(t["content"] for t in found["added_tokens"] if t["special"])
        added = frozenset(t["content"] for t in found["added_tokens"])
        pairs = (
            merge.split(" ") if isinstance(merge, str) else merge
            for merge in found["model"]["merges"]
        )
        merges = [(first, second) for first, second in pairs]
        template = (folder / "chat_template.jinja").read_text("utf-8")
        return cls(tokens, control, added - control, merges, template)


def write(
    config: Mapping[str, Any], weights: Weights, words: Words, path: Path, *, small: bool = False
) -> None:
    """Write the file; matrices as float32, or with `small` as q8_0. `weights` have their HF names."""
    import gguf  # an extra's package: whoever trains alone does not need it

    kind = gguf.MODEL_ARCH.QWEN3 if config["model_type"] == "qwen3" else gguf.MODEL_ARCH.LLAMA
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[kind])
    _write_shape(writer, config)
    files = gguf.LlamaFileType
    writer.add_file_type(files.MOSTLY_Q8_0 if small else files.ALL_F32)
    _write_words(writer, words, config)
    for name, value in weights.items():
        stored = names.get_name(name, try_suffixes=(".weight",))
        value = _turned(name, value, config)
        if value.ndim == 1 or not small:
            writer.add_tensor(stored, np.ascontiguousarray(value, np.float32))
        else:
            q8 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(stored, gguf.quants.quantize(value, q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: Any, config: Mapping[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _write_words(writer: Any, words: Words, config: Mapping[str, Any]) -> None:
    import gguf

    kinds = gguf.TokenType
    missing = config["vocab_size"] - len(words.tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*words.tokens, *(f"[PAD{i}]" for i in range(missing))])
    writer.add_token_types(
        [
            int(
                kinds.CONTROL
                if token in words.control
                else kinds.USER_DEFINED
                if token in words.marks
                else kinds.NORMAL
            )
            for token in words.tokens
        ]
        + [int(kinds.UNUSED)] * missing
    )
    writer.add_token_merges([f"{a} {b}" for a, b in words.merges])
    writer.add_eos_token_id(config["eos_token_id"])
    if config.get("pad_token_id") is not None:
        writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(words.template)


def _turned(name: str, value: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """Queries and keys of a Llama as llama.cpp has them: halves of a head's rotation interleaved."""
    if config["model_type"] != "llama":
        return value
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    for part, key in heads.items():
        if f"{part}.weight" in name:
            rows, columns = value.shape
            halves = value.reshape(config[key], 2, rows // config[key] // 2, columns)
            return halves.swapaxes(1, 2).reshape(rows, columns)
    return value


# --- what an exported graph holds -----------------------------------------------------------------


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    """The weights that the graph of a model folder computes with, by their Hugging Face names.

    Matrices are told by the order of their products in the network, gains of norms likewise.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if not config["tie_word_embeddings"] or config["model_type"] != "llama":
        raise ValueError(f"{folder}: only a Llama with one vocabulary can be read back")
    model = ov.Core().read_model(folder / "openvino_model.xml")
    matrices, gains = iter(_matrices(model)), iter(_gains(model, config["hidden_size"]))
    width = config["head_dim"]
    rows = [width * config[f"num_{kind}_heads"] for kind in ("attention", "key_value")]
    borders = [rows[0], rows[0] + rows[1]]
    found: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for letter, part in zip("qkv", np.split(next(matrices)[0], borders), strict=True):
            found[f"{at}self_attn.{letter}_proj.weight"] = part
        found[f"{at}self_attn.o_proj.weight"] = next(matrices)[0]
        for value, is_gate in (next(matrices), next(matrices)):
            found[f"{at}mlp.{'gate' if is_gate else 'up'}_proj.weight"] = value
        found[f"{at}mlp.down_proj.weight"] = next(matrices)[0]
        found[f"{at}input_layernorm.weight"] = next(gains)
        found[f"{at}post_attention_layernorm.weight"] = next(gains)
    found["model.norm.weight"] = next(gains)
    found["model.embed_tokens.weight"] = next(matrices)[0]
    return found


def _matrices(model: ov.Model) -> Iterator[tuple[np.ndarray, bool]]:
    """The matrices of all products in order, and whether each is a gate's."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            value = _constant(node.input_value(1).get_node())
            if value is not None:
                users = node.output(0).get_target_inputs()
                yield value, any(one.get_node().get_type_name() == "Swish" for one in users)


def _gains(model: ov.Model, width: int) -> Iterator[np.ndarray]:
    for node in model.get_ordered_ops():
        for place in range(2) if node.get_type_name() == "Multiply" else ():
            value = _constant(node.input_value(place).get_node())
            if value is not None and value.shape == (1, 1, width):
                yield value.reshape(-1)


def _constant(node: ov.Node) -> np.ndarray | None:
    """The float32 value of a constant, or of an int8 one times its scale."""
    kind = node.get_type_name()
    if kind == "Constant":
        return np.asarray(node.data, dtype=np.float32)
    if kind == "Convert":
        return _constant(node.input_value(0).get_node())
    if kind == "Multiply":
        both = [_constant(node.input_value(i).get_node()) for i in range(2)]
        if both[0] is not None and both[1] is not None:
            return both[0] * both[1]
    return None


def main(words: Sequence[str]) -> int:
    """Write the GGUF of a model folder."""
    if len(words) != 2:
        print("usage: python -m training.gguf_export FOLDER FILE", file=sys.stderr)
        return 2
    folder, file = Path(words[0]), Path(words[1])
    config = json.loads((folder / "config.json").read_text("utf-8"))
    write(config, weights_of(folder), Words.of(folder), file)
    print(f"{file}: {file.stat().st_size / 1e6:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
