"""GGUF files: which file a name means, what its header says, and whether the file is whole.

Owns how a header is read: bounded, so that a damaged or hostile file is one sentence and neither
memory nor a crash of the library that would load it. It starts nothing, and needs no package beyond
the standard library: what a model is can be told before anything that runs it is installed.

Source: "GGUF" of the documentation of `ggml`, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from renga.errors import SetupError

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
SUFFIX: Final = ".gguf"
DEFAULT_WINDOW: Final = 32_768

# A vocabulary has some hundred thousand entries and a split model some thousand tensors.
MOST_KEYS, MOST_TENSORS, MOST_ITEMS = 4_096, 65_536, 4_000_000
LONGEST_STRING: Final = 1 << 24
DEEPEST: Final = 4

_AGAIN = "the file is damaged or was not downloaded whole; get it again"
_SPLIT = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE)
_PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)

# Type of a value -> its form in `struct`; 8 is a string and 9 an array.
_NUMBERS: Final[Mapping[int, str]] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9

# Type of a tensor -> elements and bytes of a block of it.
_BLOCKS: Final[Mapping[int, tuple[int, int]]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip

# `general.file_type` -> how people call it (the most used of llama.cpp's list).
_PRECISIONS: Final[Mapping[int, str]] = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k",
    11: "q3_k_s", 12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s",
    17: "q5_k_m", 18: "q6_k", 25: "iq4_nl", 30: "iq4_xs", 32: "bf16", 38: "mxfp4",
}  # fmt: skip

CONTROL, USER_DEFINED = 3, 4
"""Types of tokens in `tokenizer.ggml.token_type`: control tokens, and text of a token's own."""


@dataclass(frozen=True)
class Header:
    """What stands in front of the weights. `elements` are all numbers of all tensors."""

    metadata: Mapping[str, Any] = field(repr=False)
    tensors: int
    elements: int

    @property
    def architecture(self) -> str:
        """What kind of network it is: `llama`, `qwen3`, `clip`."""
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of the architecture's own, such as `context_length`."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        # Some have one for each layer; the largest is what memory is planned by.
        if isinstance(value, list):
            value = max((v for v in value if isinstance(v, int)), default=default)
        return value if isinstance(value, int) and value >= 0 else default


@dataclass(frozen=True)
class GgufModel:
    """A whole model file. Sizes in bytes and tokens; `projector` is what it sees with, if it does.

    `window` is the default, `longest` what the model was made for; `kv_bytes` are those of a
    token's keys and values at 16 bits.
    """

    name: str
    path: Path
    projector: Path | None
    header: Header = field(repr=False)
    window: int
    longest: int
    vocab: int
    parameters: int
    precision: str
    weight_bytes: int
    kv_bytes: int

    @property
    def tokens(self) -> Sequence[str]:
        """The texts of the tokens, by id."""
        found: Sequence[str] = self.header.metadata["tokenizer.ggml.tokens"]
        return found

    @property
    def markers(self) -> dict[str, int]:
        """Tokens of their own, control tokens and others: text -> id."""
        kinds = self.header.metadata.get("tokenizer.ggml.token_type") or ()
        return {
            text: id_
            for id_, (text, kind) in enumerate(zip(self.tokens, kinds, strict=False))
            if kind in (CONTROL, USER_DEFINED) and text.strip() and len(text) > 1
        }

    @property
    def template(self) -> str | None:
        """The chat template in Jinja, where the file has one."""
        found = self.header.metadata.get("tokenizer.chat_template")
        return found if isinstance(found, str) and found.strip() else None

    @property
    def special(self) -> dict[str, str]:
        """`bos_token` and `eos_token`, which templates may print."""
        found = {}
        for name in ("bos", "eos"):
            id_ = self.header.metadata.get(f"tokenizer.ggml.{name}_token_id")
            if isinstance(id_, int) and 0 <= id_ < len(self.tokens):
                found[f"{name}_token"] = self.tokens[id_]
        return found

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end a turn, as far as the file names them."""
        keys = (f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
        found = (self.header.metadata.get(key) for key in keys)
        return tuple(dict.fromkeys(id_ for id_ in found if isinstance(id_, int)))

    @property
    def begins_with_bos(self) -> bool:
        """Whether every prompt begins with that token; where the file is silent, its kind rules."""
        said = self.header.metadata.get("tokenizer.ggml.add_bos_token")
        kind = self.header.metadata.get("tokenizer.ggml.model")
        return bool(said) if said is not None else kind == "llama"


def find_gguf(path: Path, name: str = "") -> GgufModel:
    """The model of a GGUF file, or of the one in a folder, its header checked.

    Of a model in several files the first is meant. A projector lies beside it in a file that has
    `mmproj` in its name. Raises SetupError that names the file.
    """
    file = locate(path)
    header = read_header(file)
    if header.architecture == "clip":
        raise SetupError(
            f"model file {file} is a projector, which only sees",
            "name the GGUF of the language model beside it",
        )
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise SetupError(
            f"model file {file} ({header.architecture or 'no architecture'}) has no vocabulary",
            "it holds no language model, or a part of one; name the first file",
        )
    longest = header.number("context_length", DEFAULT_WINDOW) or DEFAULT_WINDOW
    parts = [part for part, _ in _parts(file)]
    headers = [header, *(read_header(part) for part in parts[1:])]
    kind = header.metadata.get("general.file_type")
    return GgufModel(
        name=name or str(path),
        path=file,
        projector=projector_of(file),
        header=header,
        window=min(longest, DEFAULT_WINDOW),
        longest=longest,
        vocab=len(tokens),
        parameters=sum(one.elements for one in headers),
        precision=_PRECISIONS.get(kind, "mixed precision")
        if isinstance(kind, int)
        else "unknown precision",
        weight_bytes=sum(part.stat().st_size for part in parts),
        kv_bytes=_kv_bytes(header),
    )


def is_gguf(path: Path) -> bool:
    """Whether `path` is a GGUF file, or a folder with one that is a model."""
    if path.is_dir():
        return bool(_models_in(path))
    return path.suffix.lower() == SUFFIX


def locate(path: Path) -> Path:
    """The file that `path` means. Raises SetupError where that is none, or several."""
    if not path.is_dir():
        if not path.exists():
            raise SetupError(f"model file {path} is missing", "name a .gguf file, or its folder")
        return path
    there = _models_in(path)
    if len(there) == 1:
        return there[0]
    if not there:
        raise SetupError(f"model folder {path} has no .gguf file", "name a folder that has one")
    names = ", ".join(file.name for file in there[:8]) + (", …" if len(there) > 8 else "")
    raise SetupError(f"model folder {path} has {len(there)} models: {names}", "name one of them")


def projector_of(file: Path) -> Path | None:
    """The projector beside a model: the one with its name in it, else the only one, else none."""
    there = sorted(
        one for one in file.parent.glob("*" + SUFFIX) if _PROJECTOR.search(one.name) and one != file
    )
    own = [one for one in there if _PROJECTOR.sub("", one.stem).strip("-_.") in file.stem]
    found = own or there
    # Of one projector in several precisions the largest is the one that it was made in.
    return max(found, key=lambda one: one.stat().st_size) if found else None


def _models_in(folder: Path) -> list[Path]:
    """The files of a folder that can be named: no projectors, and of a split model its first."""
    found = []
    for file in sorted(folder.iterdir()):
        split = _SPLIT.fullmatch(file.name)
        later = split is not None and int(split["part"]) != 1
        if file.suffix.lower() == SUFFIX and not _PROJECTOR.search(file.name) and not later:
            found.append(file)
    return found


def _parts(file: Path) -> list[tuple[Path, int]]:
    """The files of a model with their numbers. Raises SetupError where one is missing."""
    split = _SPLIT.fullmatch(file.name)
    if split is None:
        return [(file, 1)]
    found = []
    for number in range(1, int(split["parts"]) + 1):
        part = file.with_name(f"{split['stem']}-{number:05d}-of-{split['parts']}{SUFFIX}")
        if not part.exists():
            raise SetupError(f"model file {part} is missing", "the model has several; get them all")
        found.append((part, number))
    return found


def _kv_bytes(header: Header) -> int:
    """Of a token, at 16 bits. Layers without attention make this an upper bound."""
    heads = header.number("attention.head_count")
    kv_heads = header.number("attention.head_count_kv", heads)
    width = header.number("embedding_length") // heads if heads else 0
    key = header.number("attention.key_length", width)
    value = header.number("attention.value_length", width)
    return 2 * header.number("block_count") * kv_heads * (key + value)


# --- the format -----------------------------------------------------------------------------------


def read_header(file: Path) -> Header:
    """What a GGUF file says of itself, after a check that it reaches as far as it says.

    Raises SetupError that names the file.
    """
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size
            if size < 24 or opened.read(4) != MAGIC:
                raise SetupError(f"model file {file} is no GGUF file", _AGAIN)
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(file, data, size).header()
    except OSError as error:
        raise SetupError(
            f"model file {file}: {error.strerror or error}", "name a .gguf file that can be read"
        ) from error


class _Reader:
    """One header, read from its beginning."""

    def __init__(self, file: Path, data: mmap.mmap, size: int) -> None:
        self._file, self._data, self._size = file, data, size
        self._at = len(MAGIC)

    def header(self) -> Header:
        """All of it. Raises SetupError."""
        version = self._number("I")
        if version not in VERSIONS:
            raise self._wrong(f"is GGUF version {version}; accepted: 2, 3")
        tensors, keys = self._number("Q"), self._number("Q")
        if tensors > MOST_TENSORS or keys > MOST_KEYS:
            raise self._wrong("has a damaged header")
        metadata = {self._string(): self._value(self._number("I"), 0) for _ in range(keys)}
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise self._wrong("has a damaged header")
        elements, reach = self._tensors(tensors)
        begins = (self._at + alignment - 1) // alignment * alignment
        if tensors and begins + reach > self._size:
            raise self._wrong(f"has {self._size:,} bytes; its header says {begins + reach:,}")
        return Header(metadata, tensors, elements)

    def _tensors(self, count: int) -> tuple[int, int]:
        """How many numbers there are in all tensors, and where in the weights the last one ends."""
        elements = reach = 0
        for _ in range(count):
            self._string()
            rank = self._number("I")
            if rank > DEEPEST:
                raise self._wrong("has a damaged header")
            size = 1
            for _ in range(rank):
                size *= self._number("Q")
            kind, offset = self._number("I"), self._number("Q")
            block, width = _BLOCKS.get(kind, (1, 0))
            elements += size
            reach = max(reach, offset + size // block * width)
        return elements, reach

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY or depth == DEEPEST:
            raise self._wrong("has a damaged header")
        inner, count = self._number("I"), self._number("Q")
        if count > MOST_ITEMS:
            raise self._wrong("has a damaged header")
        if inner in _NUMBERS:
            form = f"<{count}{_NUMBERS[inner]}"
            return list(struct.unpack(form, self._bytes(struct.calcsize(form))))
        return [self._value(inner, depth + 1) for _ in range(count)]

    def _string(self) -> str:
        length = self._number("Q")
        if length > LONGEST_STRING:
            raise self._wrong("has a damaged header")
        return self._bytes(length).decode("utf-8", "replace")

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack("<" + form, self._bytes(struct.calcsize("<" + form)))
        return value

    def _bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > self._size:
            raise self._wrong("ends within its header")
        found = self._data[self._at : end]
        self._at = end
        return found

    def _wrong(self, what: str) -> SetupError:
        return SetupError(f"model file {self._file} {what}", _AGAIN)
