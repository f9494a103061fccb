"""A Llama or Qwen3 checkpoint as an OpenVINO model, by the opset alone: no torch, no exporter.

The model is stateful and has the inputs and outputs that exported causal models have (`input_ids`,
`attention_mask`, `position_ids`, `beam_idx` -> `logits`), so `openvino_genai` runs it, and its
attention has the form that `paged_attention_transformation` recognises, so that we run it.
Weights are int8, one scale per output row, which the CPU plugin keeps compressed in memory.
It does not know tokenizers, templates or scheduling.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op
from openvino.op.util import Variable, VariableInfo

from renga.engine.checkpoint import CheckpointError, read_config, read_weights

# A finite stand-in for minus infinity that survives a conversion to 16 bits.
_MASKED = -65504.0


@dataclass(frozen=True)
class Shape:
    """The numbers of a Llama `config.json` that its graph depends on."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    eps: float
    theta: float
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """Read the shape from a Hugging Face configuration; what we cannot honour is an error."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise CheckpointError(
                f"config.json: rope type {kind!r} is not supported; only 'default'"
            )
        act = config.get("hidden_act", "silu")
        if act != "silu":
            raise CheckpointError(f"config.json: hidden_act {act!r} is not supported; only 'silu'")
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        return cls(
            hidden=hidden,
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            inner=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            eps=float(config.get("rms_norm_eps", 1e-6)),
            theta=float(config.get("rope_theta") or rope.get("rope_theta", 10000.0)),
            tied=bool(config.get("tie_word_embeddings", False)),
        )


def convert(checkpoint: Path, out: Path, *, weight_bits: int | None = 8) -> None:
    """Write `out/openvino_model.xml` and `.bin` from a Hugging Face checkpoint folder.

    `config.json` and, where they exist, the tokenizer's files are copied along.
    """
    model = build(read_config(checkpoint), read_weights(checkpoint), weight_bits=weight_bits)
    out.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ):
        source = checkpoint / name
        if source.exists() and source.resolve() != (out / name).resolve():
            shutil.copyfile(source, out / name)


def build(
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    weight_bits: int | None = 8,
) -> ov.Model:
    """The stateful model of a configuration and its weights (Hugging Face names).

    `weight_bits` 8 stores matrices as int8 with a scale per row; None keeps them float32.
    """
    if weight_bits not in (8, None):
        raise ValueError(f"weight_bits: {weight_bits!r}; 8 or None is expected")
    return _Builder(Shape.of(config), weights, weight_bits == 8).model()


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights for a configuration: a model for tests and for measuring speed.

    The layers outweigh the embeddings, so that its greedy text wanders and does not repeat itself.
    """
    shape = Shape.of(config)
    draw = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        drawn = draw.standard_normal((rows, columns)) * gain / np.sqrt(columns)
        return np.asarray(drawn, dtype=np.float32)

    weights = {"model.embed_tokens.weight": matrix(shape.vocab, shape.hidden, 0.3)}
    for layer in range(shape.layers):
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


class _Builder:
    """One graph under construction; every method adds nodes and returns the last."""

    def __init__(self, shape: Shape, weights: Mapping[str, np.ndarray], quantize: bool) -> None:
        self.shape = shape
        self.weights = weights
        self.quantize = quantize
        self.sinks: list[ov.Node] = []
        self.matrices: dict[str, ov.Node] = {}

    def model(self) -> ov.Model:
        """The whole graph."""
        self._inputs()
        width = self.shape.hidden
        hidden = op.gather(
            self._matrix(["model.embed_tokens.weight"], [self.shape.vocab], width),
            op.convert(self.ids, "i32"),
            _int(0),
        )
        for layer in range(self.shape.layers):
            at = f"model.layers.{layer}."
            normed = self._norm(hidden, at + "input_layernorm.weight", width)
            hidden = op.add(hidden, self._attention(normed, layer))
            normed = self._norm(hidden, at + "post_attention_layernorm.weight", width)
            hidden = op.add(hidden, self._feed_forward(normed, at + "mlp."))
        hidden = self._norm(hidden, "model.norm.weight", width)
        head = "model.embed_tokens.weight" if self.shape.tied else "lm_head.weight"
        logits = self._linear(hidden, [head], [self.shape.vocab], width)
        logits.output(0).set_names({"logits"})
        result = op.result(logits)
        result.set_friendly_name("logits")
        parameters = [self.ids, self.mask, self.positions, self.beams]
        return ov.Model([result], self.sinks, parameters, "llama")

    def _inputs(self) -> None:
        def parameter(name: str, rank: int, kind: ov.Type = ov.Type.i64) -> ov.Node:
            node = op.parameter(ov.PartialShape([-1] * rank), kind)
            node.set_friendly_name(name)
            node.output(0).set_names({name})
            return node

        self.ids = parameter("input_ids", 2)
        self.mask = parameter("attention_mask", 2)
        self.positions = parameter("position_ids", 2)
        self.beams = parameter("beam_idx", 1, ov.Type.i32)
        ids_shape = op.shape_of(self.ids, "i64")
        self.batch = op.gather(ids_shape, _ints(0), _int(0))
        self.cos, self.sin = self._rotations()
        self.attention_bias = self._causal_bias(op.gather(ids_shape, _int(1), _int(0)))

    def _rotations(self) -> tuple[ov.Node, ov.Node]:
        """Cosines and sines `[batch, 1, tokens, head_dim]` of the positions."""
        half = self.shape.head_dim // 2
        exponent = np.arange(half, dtype=np.float64) / half
        inverse = (1.0 / self.shape.theta**exponent).astype(np.float32)
        positions = op.convert(op.unsqueeze(self.positions, _int(1)), "f32")
        angles = op.matmul(op.constant(inverse.reshape(1, half, 1)), positions, False, False)
        angles = op.transpose(angles, _ints(0, 2, 1))
        angles = op.concat([angles, angles], -1)
        return op.unsqueeze(op.cos(angles), _int(1)), op.unsqueeze(op.sin(angles), _int(1))

    def _causal_bias(self, tokens: ov.Node) -> ov.Node:
        """Zero where a query may look, hugely negative elsewhere: `[batch, 1, tokens, total]`.

        Only the plain (not paged) model computes it: the paged form masks by sequence lengths.
        """
        total = op.gather(op.shape_of(self.mask, "i64"), _int(1), _int(0))
        keys = op.unsqueeze(op.range(_int(0), total, _int(1), "i64"), _int(0))
        queries = op.unsqueeze(op.range(op.subtract(total, tokens), total, _int(1), "i64"), _int(1))
        visible = op.unsqueeze(op.less_equal(keys, queries), _ints(0, 1))
        present = op.unsqueeze(op.not_equal(self.mask, _int(0)), _ints(1, 2))
        return op.select(op.logical_and(visible, present), _float(0.0), _float(_MASKED))

    def _attention(self, hidden: ov.Node, layer: int) -> ov.Node:
        shape, at = self.shape, f"model.layers.{layer}.self_attn."
        query, key, value = self._queries_keys_values(hidden, at)
        query = self._rotate(self._norm_heads(query, at + "q_norm.weight"))
        key = self._rotate(self._norm_heads(key, at + "k_norm.weight"))
        keys = self._repeat(self._remember(key, f"past_key_values.{layer}.key"))
        values = self._repeat(self._remember(value, f"past_key_values.{layer}.value"))
        mixed = op.scaled_dot_product_attention(query, keys, values, self.attention_bias)
        width = shape.heads * shape.head_dim
        joined = op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, width), True)
        return self._linear(joined, [at + "o_proj.weight"], [shape.hidden], width)

    def _queries_keys_values(self, hidden: ov.Node, at: str) -> list[ov.Node]:
        """The three projections, each `[batch, heads, tokens, head_dim]`.

        They are one product: three small ones cost a sixth of a single-token step more.
        """
        width = self.shape.head_dim
        heads = [self.shape.heads, self.shape.kv_heads, self.shape.kv_heads]
        rows = [count * width for count in heads]
        names = [f"{at}{letter}_proj.weight" for letter in "qkv"]
        flat = self._linear(hidden, names, rows, self.shape.hidden)
        parts = op.variadic_split(flat, _int(-1), _ints(*rows)).outputs()
        return [
            op.transpose(op.reshape(part, _ints(0, 0, count, width), True), _ints(0, 2, 1, 3))
            for part, count in zip(parts, heads, strict=True)
        ]

    def _rotate(self, heads: ov.Node) -> ov.Node:
        half, end = self.shape.head_dim // 2, np.iinfo(np.int64).max
        first = op.slice(heads, _ints(0), _ints(half), _ints(1), _ints(3))
        second = op.slice(heads, _ints(half), _ints(end), _ints(1), _ints(3))
        turned = op.concat([op.multiply(second, _float(-1.0)), first], -1)
        return op.add(op.multiply(heads, self.cos), op.multiply(turned, self.sin))

    def _remember(self, fresh: ov.Node, name: str) -> ov.Node:
        """Append to the state of that name and return all of it."""
        heads, width = self.shape.kv_heads, self.shape.head_dim
        info = VariableInfo()
        info.data_shape = ov.PartialShape([-1, heads, -1, width])
        info.data_type = ov.Type.f32
        info.variable_id = name
        variable = Variable(info)
        empty = op.broadcast(
            _float(0.0),
            op.concat([self.batch, _ints(heads), _ints(0), _ints(width)], 0),
        )
        past = op.gather(op.read_value(empty, variable), self.beams, _int(0))
        joined = op.concat([past, fresh], 2)
        self.sinks.append(op.assign(joined, variable))
        return joined

    def _repeat(self, heads: ov.Node) -> ov.Node:
        """Repeat each of the key-value heads for the queries that share it."""
        shape = self.shape
        if shape.heads == shape.kv_heads:
            return heads
        groups = shape.heads // shape.kv_heads
        sizes = op.shape_of(heads, "i64")
        batch, tokens = (op.gather(sizes, _ints(axis), _int(0)) for axis in (0, 2))
        target = op.concat(
            [
                batch,
                _ints(shape.kv_heads),
                _ints(groups),
                tokens,
                _ints(shape.head_dim),
            ],
            0,
        )
        spread = op.broadcast(op.unsqueeze(heads, _int(2)), target, "BIDIRECTIONAL")
        return op.reshape(spread, _ints(0, shape.heads, -1, shape.head_dim), True)

    def _feed_forward(self, hidden: ov.Node, at: str) -> ov.Node:
        inner, width = self.shape.inner, self.shape.hidden
        gate = op.swish(self._linear(hidden, [at + "gate_proj.weight"], [inner], width))
        up = self._linear(hidden, [at + "up_proj.weight"], [inner], width)
        return self._linear(op.multiply(gate, up), [at + "down_proj.weight"], [width], inner)

    def _norm_heads(self, heads: ov.Node, name: str) -> ov.Node:
        """Each head by itself, where the checkpoint has such a norm (Qwen3); else as they are."""
        return self._norm(heads, name, self.shape.head_dim) if name in self.weights else heads

    def _norm(self, hidden: ov.Node, name: str, width: int) -> ov.Node:
        mean = op.reduce_mean(op.power(hidden, _float(2.0)), _ints(-1), True)
        scale = op.divide(_float(1.0), op.sqrt(op.add(mean, _float(self.shape.eps))))
        gain = self._weight(name, (width,)).reshape(1, 1, -1)
        return op.multiply(op.constant(gain), op.multiply(hidden, scale))

    def _linear(self, hidden: ov.Node, names: list[str], rows: list[int], columns: int) -> ov.Node:
        """The product with the named matrices, stacked, and their biases where there are any."""
        product = op.matmul(hidden, self._matrix(names, rows, columns), False, True)
        biases = [name.removesuffix("weight") + "bias" for name in names]
        if not any(name in self.weights for name in biases):
            return product
        bias = [self._weight(name, (count,)) for name, count in zip(biases, rows, strict=True)]
        return op.add(product, op.constant(np.concatenate(bias).reshape(1, 1, -1)))

    def _matrix(self, names: list[str], rows: list[int], columns: int) -> ov.Node:
        """The named matrices one above the other; one node for all who use it."""
        key = names[0]
        if key not in self.matrices:
            sizes = [(count, columns) for count in rows]
            parts = [self._weight(name, size) for name, size in zip(names, sizes, strict=True)]
            value = np.concatenate(parts)
            self.matrices[key] = _int8(value) if self.quantize else op.constant(value)
        return self.matrices[key]

    def _weight(self, name: str, size: tuple[int, ...]) -> np.ndarray:
        value = self.weights.get(name)
        if value is None:
            raise CheckpointError(f"the checkpoint has no tensor {name!r}")
        if value.shape != size:
            raise CheckpointError(f"tensor {name!r} is {value.shape}; the config asks for {size}")
        return np.ascontiguousarray(value, dtype=np.float32)


def _int8(value: np.ndarray) -> ov.Node:
    scale = np.abs(value).max(axis=1, keepdims=True) / np.float32(127.0)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    stored = np.clip(np.rint(value / scale), -127, 127).astype(np.int8)
    return op.multiply(op.convert(op.constant(stored), "f32"), op.constant(scale))


def _int(value: int) -> ov.Node:
    return op.constant(np.array(value, dtype=np.int64))


def _ints(*values: int) -> ov.Node:
    return op.constant(np.array(values, dtype=np.int64))


def _float(value: float) -> ov.Node:
    return op.constant(np.array(value, dtype=np.float32))
