"""A causal language model on OpenVINO with paged attention: one flat batch in, logits out.

Beside `graph` the only importer of openvino. It owns how a model is transformed, compiled and
fed, and the memory of the KV blocks; which blocks belong to whom it does not know.
"""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as op
from openvino._offline_transformations import paged_attention_transformation

from renga.engine.batch import Batch
from renga.engine.blocks import BLOCK_SIZE
from renga.engine.graph.builder import LONG_CONTEXT
from renga.engine.memory import default_kv_bytes, megabytes, stored_precision
from renga.engine.messages import EngineSettings, Precision
from renga.errors import SetupError
from renga.machine import available_memory
from renga.models.find import DEFAULT_WINDOW, check_weights

# A step with another number of tokens than the one before prepares the whole graph anew. Measured
# on the shipped model: 1.4 ms, and 0.9 ms the step itself. So that steady decodes, and the guesses
# and prompts between them, do not each pay for it, a model with weights up to this is held twice.
_TWICE_BYTES = 256 * 1024 * 1024

_EVERYWHERE: dict[str, Any] = {
    "PERFORMANCE_HINT": "LATENCY",
    # A pinned thread waits for whoever else has its core, and all others for it: measured beside a
    # busy process, a step took a third longer on average.
    "ENABLE_CPU_PINNING": False,
}
_PROPERTIES: dict[Precision, dict[str, Any]] = {
    "serving": {},
    # Measured: with these, and keys and values in f32 as well, a batch, a chunk border or a reused
    # block changes no greedy token.
    "exact": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
}


class ModelError(Exception):
    """A model folder that cannot be served; the sentence names what is wrong with it."""


@dataclass(frozen=True)
class ModelFiles:
    """What a model folder says about itself. Windows in tokens: the default and the model's own."""

    folder: Path
    window: int
    longest: int
    end_ids: list[int]

    @classmethod
    def read(cls, folder: Path) -> "ModelFiles":
        """Check that the folder's files are there and read the facts."""
        for name in ("openvino_model.xml", "openvino_model.bin", "config.json", "tokenizer.json"):
            if not (folder / name).is_file():
                raise ModelError(f"{folder}: no {name}; a model folder is expected here")
        config = _read_json(folder / "config.json")
        generation = folder / "generation_config.json"
        own = _read_json(generation) if generation.is_file() else {}
        ends = own.get("eos_token_id")
        if ends is None:
            ends = config.get("eos_token_id")
        end_ids = [ends] if isinstance(ends, int) else list(ends or [])
        if not end_ids:
            raise ModelError(f"{folder}: neither config names an eos_token_id")
        try:
            check_weights(folder)
        except SetupError as error:
            raise ModelError(error.message) from error
        longest = int(config.get("max_position_embeddings", DEFAULT_WINDOW))
        return cls(folder, min(longest, DEFAULT_WINDOW), longest, end_ids)


class Model:
    """A compiled model with its KV blocks. `forward` must be called from one thread at a time."""

    def __init__(self, files: ModelFiles, settings: EngineSettings) -> None:
        window = min(settings.window or files.window, files.longest)
        graphs = _compile(files.folder, settings, window)
        compiled = graphs[0]
        caches = {
            port.get_any_name(): port
            for port in compiled.inputs
            if "_cache." in port.get_any_name()
        }
        _check_inputs(files.folder, {p.get_any_name() for p in compiled.inputs} - caches.keys())
        self.precision: Precision = settings.precision
        self.block_size = BLOCK_SIZE
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.vocab = compiled.output(0).get_partial_shape()[-1].get_length()
        block_bytes = sum(_block_bytes(port) for port in caches.values())
        self.blocks = _block_count(block_bytes, window, settings.kv_bytes)
        self.window = min(window, self.blocks * BLOCK_SIZE)
        self.kv_bytes = self.blocks * block_bytes
        _check_memory(self.kv_bytes, available_memory())
        tensors = {name: _cache_tensor(port, self.blocks) for name, port in caches.items()}
        self._caches: list[npt.NDArray[Any]] = [tensor.data for tensor in tensors.values()]
        self._graphs = [_Graph(graph.create_infer_request(), tensors) for graph in graphs]

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Compute a step; the logits `[rows, vocab]`, a view that the next call overwrites."""
        tokens = len(batch.input_ids)
        fitting = (graph for graph in self._graphs if graph.tokens == tokens)
        graph = next(fitting, self._graphs[-1])
        if graph is not self._graphs[0]:
            self._graphs.remove(graph)
            self._graphs.insert(0, graph)
        return graph.forward(batch).reshape(-1, self.vocab)

    def copy_block(self, source: int, target: int) -> None:
        """Make the keys and values of one block those of another, in every layer."""
        for cache in self._caches:
            cache[target] = cache[source]


class _Graph:
    """One compiled copy of the model; all copies share the memory of the blocks."""

    def __init__(self, request: Any, caches: dict[str, ov.Tensor]) -> None:
        self.tokens = 0
        """How many tokens its last step had: with another number the next takes longer."""
        self._request = request
        for name, cache in caches.items():
            request.set_tensor(name, cache)
        self._inputs = {field.name: np.zeros((0, 0)) for field in fields(Batch)}

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        """The logits of the batch's rows, a view that the next call overwrites."""
        self.tokens = len(batch.input_ids)
        for name, bound in self._inputs.items():
            value = getattr(batch, name)
            # Binding costs more than a small step's arithmetic on one core; a copy is nothing.
            if bound.shape == value.shape:
                bound[...] = value
            else:
                self._bind(name, value)
        self._request.infer()
        logits: npt.NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits

    def _bind(self, name: str, value: npt.NDArray[Any]) -> None:
        """Give the model memory of our own to read this input from, holding that value."""
        bound = self._inputs[name] = value.copy()
        self._request.set_tensor(name, ov.Tensor(bound, shared_memory=True))


def _compile(folder: Path, settings: EngineSettings, window: int) -> list[ov.CompiledModel]:
    """The model; where it is small, twice. It may be asked for contexts of `window` tokens."""
    core = ov.Core()
    small = (folder / "openvino_model.bin").stat().st_size <= _TWICE_BYTES
    try:
        model = core.read_model(folder / "openvino_model.xml")
        _fix_rotation(model, window)
        paged_attention_transformation(model)
        _sample_rows_only(model)
        properties = {**_EVERYWHERE, **_PROPERTIES[settings.precision], **_stored(core, settings)}
        if settings.threads:
            properties["INFERENCE_NUM_THREADS"] = settings.threads
        return [core.compile_model(model, "CPU", properties) for _ in range(2 if small else 1)]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(f"{folder}: not a causal model that can be served: {reason}") from error


def _check_inputs(folder: Path, names: set[str]) -> None:
    """Whether the model reads what a step gives, all of it and nothing else."""
    given = {field.name for field in fields(Batch)}
    if names != given:
        odd = [f"it also needs '{name}'" for name in sorted(names - given)]
        odd += [f"it does not read '{name}'" for name in sorted(given - names)]
        raise ModelError(f"{folder}: not a language model that can be served: {'; '.join(odd)}")


def _stored(core: ov.Core, settings: EngineSettings) -> dict[str, Any]:
    """How keys and values are kept. Unless they are quantized, attention computes as they are."""
    stored = stored_precision(settings)
    if stored == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        # No bf16 arithmetic here: f32 has what bf16 is chosen for, at twice the memory.
        stored = "f32"
    properties: dict[str, Any] = {"KV_CACHE_PRECISION": stored}
    if stored != "u8":
        properties["INFERENCE_PRECISION_HINT"] = stored
    return properties


def _fix_rotation(model: ov.Model, window: int) -> None:
    """Have LongRoPE turn by one of its two sets, the one for contexts of `window` tokens.

    As it stands in the graph, each call chooses by its own length. Keys of several calls, and of
    prefixes that many share, lie in blocks together: they must have been turned alike.
    """
    for node in model.get_ops():
        if node.get_friendly_name() == LONG_CONTEXT:
            last_near = node.input_value(1).get_node().get_data().item()
            longer = op.constant(np.array(window > last_near + 1))
            node.output(0).replace(longer.output(0))


def _sample_rows_only(model: ov.Model) -> None:
    """Choose the wanted rows before the vocabulary projection, the largest product of a step."""
    head = model.output("logits").get_node().input_value(0).get_node()
    while head.get_type_name() != "MatMul":
        if not head.inputs():
            raise ModelError("its logits do not come from a matrix product")
        head = head.input_value(0).get_node()
    rows = op.parameter(ov.PartialShape([-1]), ov.Type.i32)
    rows.set_friendly_name("rows")
    rows.output(0).set_names({"rows"})
    zero = op.constant(np.array(0, dtype=np.int64))
    wanted = op.gather(head.input_value(0), rows, zero)
    head.input(0).replace_source_output(wanted.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()


def _block_count(block_bytes: int, window: int, kv_bytes: int | None) -> int:
    if kv_bytes is not None:
        count = kv_bytes // block_bytes
        if count < 2:
            raise ModelError(f"kv_bytes: {kv_bytes} holds {count} blocks of {block_bytes}; need 2")
        return count
    return default_kv_bytes(window, block_bytes) // block_bytes


def _check_memory(kv_bytes: int, free: int | None) -> None:
    """Blocks take memory only as they are written to: what is too much would show much later."""
    if free is not None and kv_bytes > free:
        raise ModelError(
            f"its keys and values take {megabytes(kv_bytes)}; {megabytes(free)} are free"
        )


def _block_bytes(port: Any) -> int:
    _, *rest = port.get_partial_shape()
    size: int = port.get_element_type().size
    elements: int = math.prod(axis.get_length() for axis in rest)
    return elements * size


def _cache_tensor(port: Any, blocks: int) -> ov.Tensor:
    _, *rest = port.get_partial_shape()
    shape = ov.Shape([blocks, *(axis.get_length() for axis in rest)])
    return ov.Tensor(port.get_element_type(), shape)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: an object is expected, not {type(found).__name__}")
    return found
