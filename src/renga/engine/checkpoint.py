"""Reading a Hugging Face checkpoint folder: its `config.json` and its safetensors.

Owns the file format alone: names and shapes are given as they stand; what they mean is for
`graph.py`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
}


class CheckpointError(Exception):
    """A checkpoint folder that cannot be read; the sentence names the file."""


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json` as a dictionary."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: an object is expected, not {type(found).__name__}")
    return found


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of the folder's `*.safetensors` files, as float32 arrays by name."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: no *.safetensors file")
    weights: dict[str, np.ndarray] = {}
    for path in files:
        weights.update(_read_file(path))
    return weights


def write_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write float32 tensors as one safetensors file."""
    header: dict[str, Any] = {}
    offset = 0
    for name, value in weights.items():
        size = value.size * 4
        header[name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for value in weights.values():
            file.write(np.ascontiguousarray(value, dtype="<f4").tobytes())


def _read_file(path: Path) -> dict[str, np.ndarray]:
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    length = int.from_bytes(raw[:8].tobytes(), "little") if raw.size >= 8 else -1
    if not 0 <= length <= raw.size - 8:
        raise CheckpointError(f"{path}: not a safetensors file")
    try:
        header = json.loads(raw[8 : 8 + length].tobytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: its header is not JSON: {error}") from error
    header.pop("__metadata__", None)
    body = raw[8 + length :]
    return {name: _tensor(path, name, entry, body) for name, entry in header.items()}


def _tensor(path: Path, name: str, entry: Mapping[str, Any], body: np.ndarray) -> np.ndarray:
    kind = _TYPES.get(entry["dtype"])
    if kind is None:
        known = ", ".join(_TYPES)
        raise CheckpointError(f"{path}: {name} is {entry['dtype']}; readable are {known}")
    begin, end = entry["data_offsets"]
    flat = np.frombuffer(body[begin:end].tobytes(), dtype=kind)
    if entry["dtype"] == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.astype(np.float32, copy=False).reshape(entry["shape"])
