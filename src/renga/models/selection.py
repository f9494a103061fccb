"""What of a repository or a folder is a model: which files are taken, and which model is meant.

Owns the list of files that are taken (weights, tokenizer, template, configuration: nothing that
could run), the order of formats where there are several, and the choice among several GGUF files.
It works on names and sizes alone, so that a listing and a folder are judged by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from renga.errors import SetupError

Format = Literal["openvino", "openvino_vision", "safetensors", "gguf"]

FORMAT_WORDS: Final[dict[Format, str]] = {
    "openvino": "OpenVINO",
    "openvino_vision": "OpenVINO, with vision",
    "safetensors": "safetensors",
    "gguf": "GGUF",
}

# The usual choice where nobody chose: the field's custom since llama.cpp's own default.
USUAL = "Q4_K_M"

# What makes a folder of that format; the first that is there is what a repository is.
_MARKS: Final[dict[Format, re.Pattern[str]]] = {
    "openvino": re.compile(r"openvino_model\.xml"),
    "openvino_vision": re.compile(r"openvino_language_model\.xml"),
    "safetensors": re.compile(r"model(-\d+-of-\d+)?\.safetensors"),
    "gguf": re.compile(r"(.*/)?[^/]+\.gguf", re.I),
}
_WEIGHTS: Final[dict[Format, re.Pattern[str]]] = {
    "openvino": re.compile(r"openvino_\w+\.(xml|bin)"),
    "openvino_vision": re.compile(r"openvino_\w+\.(xml|bin)"),
    "safetensors": re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"),
    "gguf": _MARKS["gguf"],
}

# Beside the weights: what turns a conversation into tokens, and how the model is built and drawn.
WORDS: Final = frozenset(
    "tokenizer.json tokenizer_config.json tokenizer.model special_tokens_map.json "
    "added_tokens.json vocab.json vocab.txt merges.txt chat_template.jinja chat_template.json "
    "config.json generation_config.json openvino_config.json preprocessor_config.json "
    "processor_config.json video_preprocessor_config.json".split()
)

_PART_OF = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})$")
_QUANTIZATION = re.compile(
    r"(?:^|[-._])(?P<name>(?:UD-)?(?:I?Q\d[A-Z0-9_]*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))$",
    re.I,
)
_NO_MODEL = re.compile(r"(^|/)[^/]*(mmproj|imatrix)[^/]*$", re.I)
_PROJECTOR = re.compile(r"(^|/)[^/]*mmproj[^/]*$", re.I)
_PROJECTOR_ORDER = ("F16", "FP16", "BF16", "Q8_0", "F32", "FP32")

Sizes = Mapping[str, int]
"""Bytes of each file, by its path in the repository."""


@dataclass(frozen=True)
class Choice:
    """One model among the GGUF files: its parts in order. `label` is what names it."""

    label: str
    paths: tuple[str, ...]
    size: int

    @property
    def quantization(self) -> str:
        """Such as Q4_K_M; "" where its name says none."""
        return quantization_of(self.paths[0])


@dataclass(frozen=True)
class Selection:
    """The files that are one model, weights first; `reason` says why, where it was a choice."""

    format: Format
    paths: tuple[str, ...]
    reason: str = ""


def select(sizes: Sizes, file: str, name: str) -> Selection:
    """The model that is meant among the files of `name`.

    Args:
        sizes: every file that is there.
        file: a file or a quantization that was asked for, or "".
        name: for the sentences.

    Raises:
        SetupError: there is no model, no such file, or several and no usual one.
    """
    formats = [form for form in _MARKS if any(_MARKS[form].fullmatch(path) for path in sizes)]
    if not formats:
        raise SetupError(f"'{name}' holds no model: {_what_is_there(sizes)}", _ACCEPTED)
    wanted = _format_of(file, sizes) if file else formats[0]
    if wanted == "gguf":
        return _select_gguf(sizes, file, name)
    paths = [path for path in sizes if _WEIGHTS[wanted].fullmatch(path)]
    weights = [path for path in paths if _has_its_graph(path, sizes)]
    others = [FORMAT_WORDS[form] for form in formats if form != wanted]
    reason = f"{FORMAT_WORDS[wanted]} of {_listed([FORMAT_WORDS[wanted], *others])}"
    words = sorted(path for path in sizes if path in WORDS)
    return Selection(wanted, (*sorted(weights), *words), reason if others and not file else "")


def _format_of(file: str, sizes: Sizes) -> Format:
    """The format that naming `file` asks for; a word that is no file there names a GGUF."""
    for form, pattern in _WEIGHTS.items():
        if file in sizes and pattern.fullmatch(file):
            return form
    return "gguf"


def _has_its_graph(path: str, sizes: Sizes) -> bool:
    """A `.bin` is weights only beside its graph; alone it could be a pickle."""
    return not path.endswith(".bin") or path.removesuffix(".bin") + ".xml" in sizes


_ACCEPTED = (
    "accepted: OpenVINO (openvino_model.xml and .bin), GGUF, or safetensors (model.safetensors)"
)


def _what_is_there(sizes: Sizes) -> str:
    if not sizes:
        return "it is empty"
    endings = {("*" + path[path.rfind(".") :]) if "." in path else path for path in sizes}
    pickled = endings & {"*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack"}
    if pickled:
        return f"its weights are only in forms that are not read ({_listed(sorted(pickled))})"
    return f"only {_listed(sorted(endings)[:6])}"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1]


# --- GGUF -----------------------------------------------------------------------------------------


def gguf_choices(sizes: Sizes) -> list[Choice]:
    """The models among GGUF files, smallest first; one that lacks parts is among them."""
    groups: dict[str, list[str]] = {}
    for path in sorted(sizes):
        if _MARKS["gguf"].fullmatch(path) and not _NO_MODEL.search(path):
            groups.setdefault(_PART_OF.sub("", path[: -len(".gguf")]), []).append(path)
    by_name: dict[str, list[str]] = {}
    for base in groups:
        by_name.setdefault(quantization_of(base + ".gguf"), []).append(base)
    found = []
    for base, paths in groups.items():
        quantization = quantization_of(base + ".gguf")
        alone = quantization and len(by_name[quantization]) == 1
        label = quantization if alone else paths[0]
        found.append(Choice(label, tuple(paths), sum(sizes[path] for path in paths)))
    return sorted(found, key=lambda choice: (choice.size, choice.label))


def quantization_of(path: str) -> str:
    """How a GGUF file stores its weights, by its name and in capitals; "" where it is silent."""
    stem = _PART_OF.sub("", path.removesuffix(path[-5:]) if is_gguf(path) else path)
    match = _QUANTIZATION.search(stem.rpartition("/")[2])
    return match["name"].upper() if match else ""


def is_gguf(path: str) -> bool:
    """Whether the name is that of a GGUF file."""
    return path.lower().endswith(".gguf")


def projector_of(sizes: Sizes) -> str | None:
    """The GGUF file that turns images into what the model reads, where there is one."""
    found = sorted(path for path in sizes if is_gguf(path) and _PROJECTOR.search(path))
    rank = {name: place for place, name in enumerate(_PROJECTOR_ORDER)}
    return min(found, key=lambda p: (rank.get(quantization_of(p), len(rank)), p), default=None)


def _select_gguf(sizes: Sizes, file: str, name: str) -> Selection:
    choices = gguf_choices(sizes)
    chosen, reason = _chosen(choices, file, name)
    _check_parts(chosen, name)
    projector = projector_of(sizes)
    seeing = (projector,) if projector else ()
    return Selection("gguf", (*chosen.paths, *seeing), reason)


def _chosen(choices: list[Choice], file: str, name: str) -> tuple[Choice, str]:
    if file:
        found = _named(choices, file)
        if len(found) == 1:
            return found[0], ""
        problem = "means several" if found else "is not there"
        raise SetupError(f"'{name}': '{file}' {problem}", _choose_one(found or choices, name))
    if not choices:
        raise SetupError(f"'{name}' holds no model, only a projector or a matrix", _ACCEPTED)
    if len(choices) == 1:
        return choices[0], ""
    usual = [choice for choice in choices if choice.quantization == USUAL]
    if len(usual) == 1:
        others = [choice for choice in choices if choice is not usual[0]]
        return usual[0], f"{USUAL}, the usual one; also there: {_with_sizes(others)}"
    raise SetupError(
        f"'{name}' holds {len(choices)} models, and none is the usual one",
        _choose_one(choices, name),
    )


def _named(choices: list[Choice], file: str) -> list[Choice]:
    """The choices that `file` means: by path, by the file's own name, by quantization."""
    wanted = file.lower()
    for names in (
        lambda c: c.paths,
        lambda c: [path.rpartition("/")[2] for path in c.paths],
        lambda c: [path.rpartition("/")[2][: -len(".gguf")] for path in c.paths],
        lambda c: [c.quantization],
    ):
        found = [c for c in choices if wanted in [name.lower() for name in names(c)]]
        if found:
            return found
    return []


def _check_parts(choice: Choice, name: str) -> None:
    """Raise SetupError where a split file's parts are not all there."""
    match = _PART_OF.search(choice.paths[0][: -len(".gguf")])
    if match is None:
        return
    numbers = [int(_PART_OF.search(p[: -len(".gguf")])["number"]) for p in choice.paths]  # type: ignore[index]
    missing = sorted(set(range(1, int(match["count"]) + 1)) - set(numbers))
    if missing:
        raise SetupError(
            f"'{name}': part {missing[0]} of {int(match['count'])} of {choice.paths[0]} is missing",
            "the model is not whole there; choose another",
        )


def _choose_one(choices: list[Choice], name: str) -> str:
    base = name.partition(":")[0]
    if not choices:
        return "it holds no GGUF model"
    return f"choose one, such as {base}:{choices[0].label}; there: {_with_sizes(choices)}"


def _with_sizes(choices: list[Choice]) -> str:
    return ", ".join(f"{choice.label} ({file_size(choice.size)})" for choice in choices)


def file_size(size: int) -> str:
    """`size` bytes for a person: 812 bytes, 4.1 kB, 66 MB, 13.3 GB."""
    for unit, word in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            number = size / unit
            return f"{number:,.1f} {word}" if number < 100 else f"{number:,.0f} {word}"
    return f"{size} bytes"
