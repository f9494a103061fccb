"""From a model's name to a folder that is known to be whole.

Owns the rule what a model folder must hold, and the words in which a broken one is reported: one
line that names the file, one hint. Which folder a name means is for `renga.models.locate`. It loads
no model and knows no engine; the sizes that it states are read from the files' own headers.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from renga.errors import SetupError
from renga.models.convert import Progress, check_checkpoint, ensure_ir, find_ir
from renga.models.families import text_config
from renga.models.locate import Located, locate

DEFAULT_WINDOW = 32_768  # tokens, at most; more only where the configuration asks for it

GRAPH, WEIGHTS = "openvino_model.xml", "openvino_model.bin"
NEEDED = ("config.json", "tokenizer.json", GRAPH, WEIGHTS)
CONVERTED = ".converted"  # in a checkpoint's own folder
HEAD_BYTES = 100_000_000
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")

# How the graph names a stored tensor: its element type, its shape and where it lies in the weights.
_TENSOR = re.compile(
    r'element_type="(?P<type>\w+)" shape="(?P<shape>[\d, ]*)" '
    r'offset="(?P<offset>\d+)" size="(?P<size>\d+)"'
)
_PRECISION = {"i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4"}


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn when a caller asks for nothing. As in the API; top_k 0 is off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


@dataclass(frozen=True)
class ModelFolder:
    """A whole model folder. `weight_bytes` is what its weights take on disk.

    `window` is the default in tokens, `longest` what the model was made for; `config` is its
    config.json.
    """

    name: str
    path: Path
    window: int
    longest: int
    vocab: int
    eos: tuple[int, ...]
    parameters: int
    precision: str
    weight_bytes: int
    sampling: Sampling = Sampling()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)


def find_model(name: str, home: Path) -> ModelFolder:
    """The model of that name, its folder checked.

    Args:
        name: as `renga.models.locate` has it.
        home: the state folder.

    Raises:
        SetupError: there is no such model, or its folder is broken; names the file.
    """
    found = _located(name, home)
    if found.format != "safetensors":
        return describe_folder(name, found.path)
    made = find_ir(found.path, converted(found.path, home))
    return describe_checkpoint(name, found.path) if made is None else describe_folder(name, made)


def prepare_model(name: str, home: Path, progress: Progress | None = None) -> ModelFolder:
    """As `find_model`, and a checkpoint is converted first: once, which takes its time.

    Args:
        name: as `renga.models.locate` has it.
        home: the state folder.
        progress: is called with how many weights are converted, and of how many.

    Raises:
        SetupError: as `find_model`; or the conversion cannot be done.
    """
    found = _located(name, home)
    if found.format != "safetensors":
        return describe_folder(name, found.path)
    describe_checkpoint(name, found.path)
    made = ensure_ir(found.path, converted(found.path, home), progress=progress)
    return describe_folder(name, made)


def _located(name: str, home: Path) -> Located:
    found = locate(name, home)
    if found.format == "gguf":
        raise SetupError(
            f"model '{name}' is GGUF, which kind 'local' does not read", "leave `kind` out"
        )
    return found


def converted(folder: Path, home: Path) -> Path:
    """Where the converted forms of a checkpoint lie: with it, where its folder is one of ours."""
    folder = folder.absolute()
    if folder.is_relative_to((home / "models").absolute()):
        return folder / CONVERTED
    return home / "converted" / hashlib.sha256(str(folder).encode()).hexdigest()[:16]


def describe_checkpoint(name: str, path: Path) -> ModelFolder:
    """What will become of the checkpoint in the folder `path`, told from its files' heads.

    Raises SetupError where it cannot be converted, or its folder is broken.
    """
    check_checkpoint(path, f"'{name}'")
    read_template(path)
    given = _read_object(path / "config.json")
    parameters = sum(_elements(file) for file in sorted(path.glob("*.safetensors")))
    # Stored with a byte each, and with a scale for each row, which is less than a hundredth.
    return _described(name, path, text_config(given, name), Tensors(parameters, "int8"), parameters)


def _elements(file: Path) -> int:
    """Weights of one safetensors file, by its head, after a check that all of them are there.

    Source: the format's own description: eight bytes of length, then JSON, then the tensors.
    """
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > HEAD_BYTES:
                raise ValueError("its head has no end")
            head = json.loads(opened.read(length))
            tensors = [value for key, value in head.items() if key != "__metadata__"]
            reach = 8 + length + max((one["data_offsets"][1] for one in tensors), default=0)
            elements = int(sum(math.prod(one["shape"]) for one in tensors))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise SetupError(
            f"model file {file} is no safetensors file: {str(error).partition(chr(10))[0]}",
            "copy or pull the model again",
        ) from error
    if file.stat().st_size < reach:
        raise SetupError(
            f"model file {file} has {file.stat().st_size:,} bytes; its head needs {reach:,}",
            "the copy is incomplete; copy or pull the model again",
        )
    return elements


def describe_folder(name: str, path: Path) -> ModelFolder:
    """The model in the folder `path`, under the name by which it was asked for, as `find_model`."""
    for file in NEEDED:
        _check_readable(path / file)
    read_template(path)
    config = _read_object(path / "config.json")
    tensors = check_weights(path)
    return _described(name, path, config, tensors, (path / WEIGHTS).stat().st_size)


def _described(
    name: str, path: Path, config: Mapping[str, Any], tensors: Tensors, weight_bytes: int
) -> ModelFolder:
    generation = path / "generation_config.json"
    defaults = _read_object(generation) if generation.exists() else {}
    vocab = _positive(config, "vocab_size", path / "config.json")
    longest = _positive(config, "max_position_embeddings", path / "config.json")
    return ModelFolder(
        name=name,
        path=path,
        window=min(longest, DEFAULT_WINDOW),
        longest=longest,
        vocab=vocab,
        eos=_eos(path, config, defaults, vocab),
        parameters=tensors.parameters,
        precision=tensors.precision,
        weight_bytes=weight_bytes,
        sampling=sampling_in(defaults, generation),
        config=config,
    )


def check_tokenizer(size: int, model: ModelFolder) -> None:
    """Raise SetupError where a tokenizer of so many tokens cannot be that of `model`."""
    least, most = max(model.eos) + 1, model.vocab
    if not least <= size <= most:
        raise SetupError(
            f"model file {model.path / 'tokenizer.json'} has {size:,} tokens; "
            f"config.json asks for {least:,} to {most:,}",
            "the folder's files belong to different models; copy it again",
        )


def read_template(path: Path) -> tuple[Path, str]:
    """The chat template of a model folder: the file that has it, and its source in Jinja.

    It stands in a file of its own, or in the tokenizer's configuration, as `transformers` reads it;
    of several the one named `default` is meant. Raises SetupError where there is none.
    """
    for name in TEMPLATES:
        file = path / name
        if not file.exists():
            continue
        if file.suffix == ".jinja":
            return file, _read_text(file)
        found = _read_object(file).get("chat_template")
        if isinstance(found, list):
            named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
            found = named.get("default")
        if isinstance(found, str) and found:
            return file, found
    raise SetupError(
        f"model folder {path} has no chat template: chat_template.jinja is missing, and "
        "tokenizer_config.json has none",
        "it is a base model, which only continues texts; take the one that was made for chats",
    )


def _read_text(file: Path) -> str:
    _check_readable(file)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise SetupError(
            f"model file {file} is not text: {reason}", "copy the model folder again"
        ) from error


def _what_a_folder_holds() -> str:
    return "a model folder holds " + ", ".join((*NEEDED, TEMPLATES[0]))


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            empty = not opened.read(1)
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise SetupError(f"model file {file}: {reason}", _what_a_folder_holds()) from error
    if empty:
        raise SetupError(f"model file {file} is empty", "copy the model folder again")


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise SetupError(
            f"model file {file} is not JSON: {reason}", "copy the model folder again"
        ) from error
    if not isinstance(value, dict):
        raise SetupError(f"model file {file} holds no JSON object", "copy the model folder again")
    return value


def _positive(config: Mapping[str, Any], key: str, file: Path) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise SetupError(
            f"model file {file}: {key} = {value!r}; accepted: a whole number, 1 or more",
            "the folder holds no language model that this server can run",
        )
    return value


def _eos(
    path: Path, config: Mapping[str, Any], defaults: Mapping[str, Any], vocab: int
) -> tuple[int, ...]:
    """Tokens that end a turn: generation_config.json says it, else config.json."""
    for file, found in (("generation_config.json", defaults), ("config.json", config)):
        value = found.get("eos_token_id")
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if ids and all(type(i) is int and 0 <= i < vocab for i in ids):
            return tuple(ids)
        raise SetupError(
            f"model file {path / file}: eos_token_id = {value!r}; "
            f"accepted: ids from 0 to {vocab - 1}",
            "without the token that ends a turn, answers would never end",
        )
    raise SetupError(
        f"model folder {path}: no eos_token_id in generation_config.json or config.json",
        "without the token that ends a turn, answers would never end",
    )


def sampling_in(defaults: Mapping[str, Any], file: Path) -> Sampling:
    """The model's own way of drawing tokens. `do_sample: false` means the likeliest, always."""
    if defaults.get("do_sample") is False:
        return Sampling(temperature=0.0)
    ranges = {"temperature": (0, 2), "top_p": (0, 1), "top_k": (0, 1_000_000), "min_p": (0, 1)}
    given: dict[str, Any] = {}
    for key, (least, most) in ranges.items():
        value = defaults.get(key)
        if value is None:
            continue
        if type(value) not in (int, float) or not least <= value <= most:
            raise SetupError(
                f"model file {file}: {key} = {value!r}; accepted: {least} to {most}",
                "remove the key for the API's default",
            )
        given[key] = int(value) if key == "top_k" else float(value)
    return Sampling(**given)


@dataclass(frozen=True)
class Tensors:
    """What a graph says of its weights; `parameters` are those of its matrices."""

    parameters: int
    precision: str


def check_weights(path: Path) -> Tensors:
    """What the graph says of its weights, after a check that they reach as far as it says.

    Raises SetupError. A runtime that maps a file shorter than that would die of it.
    """
    try:
        graph = (path / GRAPH).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(
            f"model file {path / GRAPH} is not a graph", "copy the model folder again"
        ) from error
    tensors = {int(m["offset"]): m for m in _TENSOR.finditer(graph)}
    if not tensors:
        raise SetupError(
            f"model file {path / GRAPH} describes no weights",
            "it is no OpenVINO model, or a pointer to one that was not downloaded",
        )
    reach = max(offset + int(m["size"]) for offset, m in tensors.items())
    size = (path / WEIGHTS).stat().st_size
    if size < reach:
        raise SetupError(
            f"model file {path / WEIGHTS} has {size:,} bytes; its graph needs {reach:,}",
            "the copy is incomplete; copy the model folder again",
        )
    return _measure(tensors.values())


def _measure(tensors: Iterable[re.Match[str]]) -> Tensors:
    """Weights are what has two real dimensions; the scales of their rows are not counted."""
    elements: dict[str, int] = defaultdict(int)
    for tensor in tensors:
        shape = [int(n) for n in tensor["shape"].split(",") if n.strip()]
        if len([n for n in shape if n > 1]) >= 2:
            elements[tensor["type"]] += math.prod(shape)
    if not elements:
        return Tensors(0, "unknown precision")
    kind = max(elements, key=lambda k: elements[k])
    return Tensors(sum(elements.values()), _PRECISION.get(kind, kind))
