"""Reading a Hugging Face checkpoint folder: its `config.json` and its safetensors.

Owns the file format alone: names and shapes are given as they stand; what they mean is for
`graph`. Files are mapped, and a tensor is read when and as far as it is asked for.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
}
_INDEX = "model.safetensors.index.json"
# A header names every tensor; the largest models need a few hundred kilobytes.
_LONGEST_HEADER = 100_000_000


class CheckpointError(Exception):
    """A checkpoint folder that cannot be read; the sentence names the file."""


class Matrix(Protocol):
    """What has a shape and gives its rows: an array, or a tensor of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Those rows."""


class Tensor:
    """A tensor in a mapped file; `tensor[begin:end]` reads rows as float32.

    `kind` is its type as safetensors spells it: "BF16".
    """

    def __init__(self, raw: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
        self.kind = kind
        self.shape = shape
        self._raw = raw

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Those rows as float32 numbers of their own memory."""
        found = self.raw()[rows]
        if self.kind == "BF16":
            return (found.astype(np.uint32) << 16).view(np.float32)
        return found.astype(np.float32)

    def raw(self) -> np.ndarray:
        """The tensor as it is stored and where it is stored; BF16 as 16-bit words."""
        return self._raw.view(_TYPES[self.kind]).reshape(self.shape)


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json` as a dictionary."""
    return _read_object(folder / "config.json")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder's safetensors by name; nothing is read but the headers.

    Where there is an index, its files are taken, and each must hold what the index says.
    """
    index = folder / _INDEX
    places: dict[str, str] | None = None
    if index.exists():
        places = _read_index(index)
        files = [folder / name for name in sorted(set(places.values()))]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: no *.safetensors file")
    weights: dict[str, Tensor] = {}
    for path in files:
        found = _read_file(path)
        missing = [n for n, at in (places or {}).items() if at == path.name and n not in found]
        if missing:
            raise CheckpointError(f"{path}: no tensor {missing[0]!r}, which {_INDEX} says is there")
        weights.update(found)
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


def _read_index(path: Path) -> dict[str, str]:
    places = _read_object(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(at, str) for at in places.values()):
        raise CheckpointError(f"{path}: no weight_map of tensors to files")
    if any(Path(at).name != at for at in places.values()):
        raise CheckpointError(f"{path}: a file of its weight_map is not in this folder")
    return places


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: an object is expected, not {type(found).__name__}")
    return found


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        raw = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    length = int.from_bytes(raw[:8].tobytes(), "little") if raw.size >= 8 else -1
    if not 0 <= length <= min(raw.size - 8, _LONGEST_HEADER):
        raise CheckpointError(f"{path}: not a safetensors file")
    try:
        header = json.loads(raw[8 : 8 + length].tobytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is no JSON object")
    header.pop("__metadata__", None)
    body = raw[8 + length :]
    return {name: _tensor(path, name, entry, body) for name, entry in header.items()}


def _tensor(path: Path, name: str, entry: Mapping[str, Any], body: np.ndarray) -> Tensor:
    try:
        kind, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {name} is not described") from error
    if kind not in _TYPES:
        known = ", ".join(_TYPES)
        raise CheckpointError(f"{path}: {name} is {kind}; readable are {known}")
    size = int(np.prod(shape, dtype=object)) * np.dtype(_TYPES[kind]).itemsize
    if any(axis < 0 for axis in shape) or begin < 0 or end - begin != size:
        raise CheckpointError(f"{path}: {name} has {end - begin} bytes; its shape asks for {size}")
    if end > body.size:
        raise CheckpointError(f"{path}: it ends within {name}; the download is incomplete")
    return Tensor(body[begin:end], kind, shape)
