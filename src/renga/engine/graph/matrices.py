"""The weights of a checkpoint as constants of a graph, each read once and in small parts.

Owns how matrices are stored in a graph and which tensors of a checkpoint were used. No more is held
beside the graph's own constants than a block of rows in float32.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import openvino as ov
from openvino import opset13 as op

from renga.engine.checkpoint import CheckpointError, Matrix, Tensor

Precision = Literal[8, "stored"] | None

# Elements that are read at once: 4 MB in float32, and as much again for each step of rounding.
_BLOCK = 1024 * 1024

# Where a model's text has its tensors: alone, or as a part of a model that also sees.
_PLACES = ("model.", "language_model.model.", "model.language_model.")
# What lies there and is computed here instead.
_UNUSED = ("rotary_emb.inv_freq",)
_HEADS = ("lm_head.weight", "language_model.lm_head.weight")


class Matrices:
    """Weights by their names within the text's part of a checkpoint: `embed_tokens.weight`."""

    def __init__(
        self,
        weights: Mapping[str, Matrix],
        precision: Precision,
        progress: Callable[[int, int], None],
    ) -> None:
        self._weights = weights
        self._precision: Precision = precision
        self._progress = progress
        self._used: set[str] = set()
        self._nodes: dict[str, ov.Node] = {}
        self._done = 0
        self._place = next((p for p in _PLACES if p + "embed_tokens.weight" in weights), _PLACES[0])
        ours = (self._place, *_HEADS)
        self._all = sum(math.prod(w.shape) for n, w in weights.items() if n.startswith(ours))

    def __contains__(self, name: str) -> bool:
        """Whether the checkpoint has that tensor."""
        return self._place + name in self._weights

    @property
    def head(self) -> str | None:
        """The whole name of the vocabulary projection, where it has one of its own."""
        return next((name for name in _HEADS if name in self._weights), None)

    def vector(self, name: str, size: int, offset: float = 0.0) -> np.ndarray:
        """The float32 vector of that name, with `offset` added to each value."""
        value = np.asarray(self._find(self._place + name, (size,))[:], dtype=np.float32)
        _check_finite(value)
        self._note(value.size)
        return value + np.float32(offset)

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> ov.Node:
        """The named matrices, one above the other; one node for all who use it."""
        return self._node([self._place + name for name in names], rows, columns)

    def projection(self, rows: int, columns: int) -> ov.Node:
        """The vocabulary projection of a model whose embeddings are not used for it."""
        return self._node([self.head or _HEADS[0]], [rows], columns)

    def check_all_used(self, *, tied: bool) -> None:
        """Raise CheckpointError where the text's part has a tensor that no part of the graph read.

        Weights that are left out would give wrong answers without a word.
        """
        known = self._used | set(_HEADS if tied else ())
        left = sorted(
            name
            for name in self._weights
            if name.startswith((self._place, *_HEADS))
            and name not in known
            and not name.endswith(_UNUSED)
        )
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise CheckpointError(
                f"the checkpoint has a tensor {left[0]!r}{more}; its family has none of that name"
            )

    def _node(self, names: list[str], rows: Sequence[int], columns: int) -> ov.Node:
        if names[0] not in self._nodes:
            parts = [
                self._find(name, (count, columns)) for name, count in zip(names, rows, strict=True)
            ]
            self._nodes[names[0]] = self._constant(parts, sum(rows), columns)
        return self._nodes[names[0]]

    def _constant(self, parts: list[Matrix], rows: int, columns: int) -> ov.Node:
        if self._precision == 8:
            return self._int8(parts, rows, columns)
        kinds = {part.kind if isinstance(part, Tensor) else "F32" for part in parts}
        if self._precision == "stored" and kinds in ({"F16"}, {"BF16"}):
            return self._halves(parts, kinds.pop())
        whole = np.empty((rows, columns), np.float32)
        for begin, block in self._blocks(parts):
            whole[begin : begin + len(block)] = block
        return op.constant(whole, shared_memory=True)

    def _int8(self, parts: list[Matrix], rows: int, columns: int) -> ov.Node:
        """Whole steps up to 127 of a scale for each row."""
        stored = np.empty((rows, columns), np.int8)
        scales = np.empty((rows, 1), np.float32)
        for begin, block in self._blocks(parts):
            end = begin + len(block)
            scale = np.abs(block).max(axis=1, keepdims=True) / np.float32(127.0)
            scale = np.maximum(scale, np.finfo(np.float32).tiny)
            stored[begin:end] = np.clip(np.rint(block / scale), -127, 127)
            scales[begin:end] = scale
        steps = op.convert(op.constant(stored, shared_memory=True), "f32")
        return op.multiply(steps, op.constant(scales))

    def _halves(self, parts: list[Matrix], kind: str) -> ov.Node:
        """As they are stored, 16 bits each."""
        raw = np.concatenate([part.raw() for part in parts if isinstance(part, Tensor)])
        self._note(raw.size)
        if kind == "F16":
            return op.convert(op.constant(raw.view(np.float16), shared_memory=True), "f32")
        # numpy has no such type, and a tensor over foreign memory does not keep it: a copy.
        tensor = ov.Tensor(raw.view(np.uint16), ov.Shape(raw.shape), ov.Type.bf16)
        return op.convert(op.constant(tensor, shared_memory=False), "f32")

    def _blocks(self, parts: list[Matrix]) -> Iterator[tuple[int, np.ndarray]]:
        """Every block of rows in float32, with its place in the stack."""
        begin = 0
        for part in parts:
            rows, columns = part.shape
            step = max(1, _BLOCK // columns)
            for first in range(0, rows, step):
                block = np.asarray(part[first : first + step], dtype=np.float32)
                _check_finite(block)
                yield begin + first, block
                self._note(block.size)
            begin += rows

    def _note(self, elements: int) -> None:
        self._done += elements
        self._progress(self._done, self._all)

    def _find(self, name: str, size: tuple[int, ...]) -> Matrix:
        value = self._weights.get(name)
        if value is None:
            raise CheckpointError(f"the checkpoint has no tensor {name!r}")
        if tuple(value.shape) != size:
            raise CheckpointError(f"tensor {name!r} is {value.shape}; the config asks for {size}")
        self._used.add(name)
        return value


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise CheckpointError("a weight of the checkpoint is not a finite number")
