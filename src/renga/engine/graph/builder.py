"""The graph of a decoder: embeddings, layers of attention and feed-forward, logits.

Owns the operations and their order. They have the forms that the runtime fuses into its own
kernels: rotary embedding, norms, attention. What a family is stands in the `Network`; how weights
are stored, in `Matrices`.
"""

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as op
from openvino.op.util import Variable, VariableInfo

from renga.engine.graph.matrices import Matrices
from renga.models.families import Layer, Network
from renga.models.rotation import Rotation

LONG_CONTEXT = "long_context"
"""The friendly name of the node that says whether a context is beyond what LongRoPE calls near."""

# A finite stand-in for minus infinity that survives a conversion to 16 bits.
_MASKED = -65504.0

_Turn = tuple[ov.Node, ov.Node]


class Builder:
    """One graph under construction; every method adds nodes and returns the last."""

    def __init__(self, network: Network, matrices: Matrices) -> None:
        self.network = network
        self.matrices = matrices
        self._sinks: list[ov.Node] = []
        self._turns: dict[Rotation, _Turn] = {}
        self._masks: dict[int | None, ov.Node] = {}

    def model(self) -> ov.Model:
        """The whole graph."""
        self._inputs()
        network, width = self.network, self.network.hidden
        hidden = op.gather(
            self.matrices.matrix(["embed_tokens.weight"], [network.vocab], width),
            op.convert(self.ids, "i32"),
            _int(0),
        )
        if network.embedding_scale != 1.0:
            hidden = op.multiply(hidden, _float(network.embedding_scale))
        for number, layer in enumerate(network.layers):
            hidden = self._layer(hidden, number, layer)
        logits = self._logits(self._norm(hidden, "norm.weight", width))
        logits.output(0).set_names({"logits"})
        result = op.result(logits)
        result.set_friendly_name("logits")
        parameters = [self.ids, self.mask, self.positions, self.beams]
        return ov.Model([result], self._sinks, parameters, "decoder")

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
        tokens = op.gather(ids_shape, _int(1), _int(0))
        self.total = op.gather(op.shape_of(self.mask, "i64"), _int(1), _int(0))
        keys = op.range(_int(0), self.total, _int(1), "i64")
        queries = op.range(op.subtract(self.total, tokens), self.total, _int(1), "i64")
        self.tokens = tokens
        self.keys = op.unsqueeze(keys, _ints(0, 1, 2))
        self.queries = op.unsqueeze(queries, _ints(0, 1, 3))

    def _layer(self, hidden: ov.Node, number: int, layer: Layer) -> ov.Node:
        at, width = f"layers.{number}.", self.network.hidden
        normed = self._norm(hidden, at + "input_layernorm.weight", width)
        mixed = self._attention(normed, number, layer)
        if not self.network.sandwich:
            hidden = op.add(hidden, self._scaled(mixed))
            normed = self._norm(hidden, at + "post_attention_layernorm.weight", width)
            return op.add(hidden, self._scaled(self._feed_forward(normed, at + "mlp.")))
        mixed = self._norm(mixed, at + "post_attention_layernorm.weight", width)
        hidden = op.add(hidden, mixed)
        normed = self._norm(hidden, at + "pre_feedforward_layernorm.weight", width)
        fed = self._feed_forward(normed, at + "mlp.")
        return op.add(hidden, self._norm(fed, at + "post_feedforward_layernorm.weight", width))

    def _scaled(self, added: ov.Node) -> ov.Node:
        scale = self.network.residual_scale
        return added if scale == 1.0 else op.multiply(added, _float(scale))

    def _logits(self, hidden: ov.Node) -> ov.Node:
        network, width = self.network, self.network.hidden
        if network.tied:
            head = self.matrices.matrix(["embed_tokens.weight"], [network.vocab], width)
        else:
            head = self.matrices.projection(network.vocab, width)
        logits = op.matmul(hidden, head, False, True)
        if network.logit_divisor != 1.0:
            logits = op.divide(logits, _float(network.logit_divisor))
        if network.logit_cap is None:
            return logits
        cap = _float(network.logit_cap)
        return op.multiply(op.tanh(op.divide(logits, cap)), cap)

    def _attention(self, hidden: ov.Node, number: int, layer: Layer) -> ov.Node:
        network, at = self.network, f"layers.{number}.self_attn."
        query, key, value = self._queries_keys_values(hidden, at)
        query = self._rotate(self._norm_heads(query, at + "q_norm.weight"), layer.rotation)
        key = self._rotate(self._norm_heads(key, at + "k_norm.weight"), layer.rotation)
        keys = self._repeat(self._remember(key, f"past_key_values.{number}.key"))
        values = self._repeat(self._remember(value, f"past_key_values.{number}.value"))
        mask = self._visible(layer.window)
        if network.attention_scale == network.head_dim**-0.5:
            mixed = op.scaled_dot_product_attention(query, keys, values, mask)
        else:
            scale = _float(network.attention_scale)
            mixed = op.scaled_dot_product_attention(query, keys, values, mask, scale)
        width = network.heads * network.head_dim
        joined = op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, width), True)
        return self._linear(joined, [at + "o_proj.weight"], [network.hidden], width)

    def _queries_keys_values(self, hidden: ov.Node, at: str) -> list[ov.Node]:
        """The three projections, each `[batch, heads, tokens, head_dim]`.

        They are one product: three small ones cost a sixth of a single-token step more.
        """
        network, width = self.network, self.network.head_dim
        heads = [network.heads, network.kv_heads, network.kv_heads]
        rows = [count * width for count in heads]
        if network.packed:
            flat = self._linear(hidden, [at + "qkv_proj.weight"], [sum(rows)], network.hidden)
        else:
            names = [f"{at}{letter}_proj.weight" for letter in "qkv"]
            flat = self._linear(hidden, names, rows, network.hidden, biased=network.biased)
        parts = op.variadic_split(flat, _int(-1), _ints(*rows)).outputs()
        return [
            op.transpose(op.reshape(part, _ints(0, 0, count, width), True), _ints(0, 2, 1, 3))
            for part, count in zip(parts, heads, strict=True)
        ]

    def _rotate(self, heads: ov.Node, rotation: Rotation | None) -> ov.Node:
        """Turn the first values of each head; those behind stay as they are."""
        if rotation is None:
            return heads
        half, end = len(rotation.frequencies), np.iinfo(np.int64).max
        width = self.network.head_dim
        turning = heads if 2 * half == width else _cut(heads, 0, 2 * half)
        cos, sin = self._turn(rotation)
        negative = op.multiply(_cut(turning, half, end), _float(-1.0))
        turned = op.concat([negative, _cut(turning, 0, half)], -1)
        turned = op.add(op.multiply(turning, cos), op.multiply(turned, sin))
        return turned if turning is heads else op.concat([turned, _cut(heads, 2 * half, end)], -1)

    def _turn(self, rotation: Rotation) -> _Turn:
        """Cosines and sines `[batch, 1, tokens, turned]` of the positions."""
        if rotation not in self._turns:
            positions = op.convert(op.unsqueeze(self.positions, _int(1)), "f32")
            angles = op.matmul(self._frequencies(rotation), positions, False, False)
            angles = op.transpose(angles, _ints(0, 2, 1))
            angles = op.unsqueeze(op.concat([angles, angles], -1), _int(1))
            turn = op.cos(angles), op.sin(angles)
            if rotation.gain != 1.0:
                gain = _float(rotation.gain)
                turn = op.multiply(turn[0], gain), op.multiply(turn[1], gain)
            self._turns[rotation] = turn
        return self._turns[rotation]

    def _frequencies(self, rotation: Rotation) -> ov.Node:
        """`[1, pairs, 1]`: one set, or the one of two that the context's length asks for."""
        near = _column(rotation.frequencies)
        if rotation.far is None or rotation.beyond is None:
            return near
        every = op.reduce_max(self.positions, _ints(0, 1), False)
        longer = op.greater(every, _int(rotation.beyond - 1))
        longer.set_friendly_name(LONG_CONTEXT)
        return op.select(longer, _column(rotation.far), near)

    def _visible(self, window: int | None) -> ov.Node:
        """Zero where a query may look, hugely negative elsewhere: `[batch, 1, tokens, total]`.

        Only the plain (not paged) model computes it: the paged form masks by sequence lengths, and
        reads a window off the form in which it stands here.
        """
        if window not in self._masks:
            present = op.unsqueeze(op.not_equal(self.mask, _int(0)), _ints(1, 2))
            causal = op.less_equal(self.keys, self.queries)
            if window is None:
                seen = op.logical_and(causal, present)
                mask = op.select(seen, _float(0.0), _float(_MASKED))
            else:
                mask = self._sliding(window, causal, present)
            self._masks[window] = mask
        return self._masks[window]

    def _sliding(self, window: int, causal: ov.Node, present: ov.Node) -> ov.Node:
        """The mask of a sliding layer: a query sees so many tokens, itself among them.

        These operations in this order are the pattern that the paged attention transformation
        knows as a sliding window; in any other form it would leave the window out.
        """
        always = op.constant(np.array(True))
        near = op.greater(self.keys, op.add(self.queries, _int(-window)))
        seen = op.bitwise_and(op.bitwise_and(always, near), causal)
        seen = op.bitwise_and(op.bitwise_and(always, seen), present)
        size = op.concat(
            [self.batch, _ints(1), op.unsqueeze(self.tokens, _int(0)), self._total()], 0
        )
        mask = op.select(op.broadcast(seen, size), _float(0.0), _float(_MASKED))
        return op.slice(mask, _ints(0), self._total(), _ints(1), _ints(3))

    def _total(self) -> ov.Node:
        return op.unsqueeze(self.total, _int(0))

    def _remember(self, fresh: ov.Node, name: str) -> ov.Node:
        """Append to the state of that name and return all of it."""
        heads, width = self.network.kv_heads, self.network.head_dim
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
        self._sinks.append(op.assign(joined, variable))
        return joined

    def _repeat(self, heads: ov.Node) -> ov.Node:
        """Repeat each of the key-value heads for the queries that share it."""
        network = self.network
        if network.heads == network.kv_heads:
            return heads
        groups = network.heads // network.kv_heads
        sizes = op.shape_of(heads, "i64")
        batch, tokens = (op.gather(sizes, _ints(axis), _int(0)) for axis in (0, 2))
        inner = [_ints(network.kv_heads), _ints(groups), tokens, _ints(network.head_dim)]
        spread = op.broadcast(
            op.unsqueeze(heads, _int(2)), op.concat([batch, *inner], 0), "BIDIRECTIONAL"
        )
        return op.reshape(spread, _ints(0, network.heads, -1, network.head_dim), True)

    def _feed_forward(self, hidden: ov.Node, at: str) -> ov.Node:
        inner, width = self.network.inner, self.network.hidden
        if self.network.packed:
            both = self._linear(hidden, [at + "gate_up_proj.weight"], [2 * inner], width)
            gate, up = op.variadic_split(both, _int(-1), _ints(inner, inner)).outputs()
        else:
            gate = self._linear(hidden, [at + "gate_proj.weight"], [inner], width)
            up = self._linear(hidden, [at + "up_proj.weight"], [inner], width)
        gate = op.swish(gate) if self.network.activation == "silu" else op.gelu(gate, "TANH")
        return self._linear(op.multiply(gate, up), [at + "down_proj.weight"], [width], inner)

    def _norm_heads(self, heads: ov.Node, name: str) -> ov.Node:
        """Each head by itself, where the checkpoint has such a norm; else as they are."""
        return self._norm(heads, name, self.network.head_dim) if name in self.matrices else heads

    def _norm(self, hidden: ov.Node, name: str, width: int) -> ov.Node:
        mean = op.reduce_mean(op.power(hidden, _float(2.0)), _ints(-1), True)
        scale = op.divide(_float(1.0), op.sqrt(op.add(mean, _float(self.network.eps))))
        gain = self.matrices.vector(name, width, self.network.norm_offset).reshape(1, 1, -1)
        return op.multiply(op.constant(gain), op.multiply(hidden, scale))

    def _linear(
        self,
        hidden: ov.Node,
        names: list[str],
        rows: Sequence[int],
        columns: int,
        *,
        biased: bool = False,
    ) -> ov.Node:
        """The product with the named matrices, stacked, and their biases where there are any."""
        product = op.matmul(hidden, self.matrices.matrix(names, rows, columns), False, True)
        biases = [name.removesuffix("weight") + "bias" for name in names]
        if not biased and not any(name in self.matrices for name in biases):
            return product
        bias = [self.matrices.vector(n, count) for n, count in zip(biases, rows, strict=True)]
        return op.add(product, op.constant(np.concatenate(bias).reshape(1, 1, -1)))


def _cut(heads: ov.Node, begin: int, end: int) -> ov.Node:
    """The values of each head from `begin` to `end`."""
    return op.slice(heads, _ints(begin), _ints(end), _ints(1), _ints(3))


def _column(values: Sequence[float]) -> ov.Node:
    return op.constant(np.array(values, dtype=np.float32).reshape(1, -1, 1))


def _int(value: int) -> ov.Node:
    return op.constant(np.array(value, dtype=np.int64))


def _ints(*values: int) -> ov.Node:
    return op.constant(np.array(values, dtype=np.int64))


def _float(value: float) -> ov.Node:
    return op.constant(np.array(value, dtype=np.float32))
