"""Folders of vision-language models in OpenVINO's form: what makes one, and what must be in it.

Owns which files tell that a folder sees: such a model is several graphs, of which the language is
one. Loads no model; `openvino_genai` knows which architectures there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from renga.errors import SetupError
from renga.models.find import DEFAULT_WINDOW, Sampling, read_template, sampling_in
from renga.models.locate import locate

LANGUAGE: Final = "openvino_language_model.xml"
NEEDED: Final = (
    "config.json",
    "tokenizer.json",
    "openvino_tokenizer.xml",
    "openvino_detokenizer.xml",
    LANGUAGE,
    "openvino_text_embeddings_model.xml",
)
_WINDOW: Final = 4_096  # where a model does not say how far it sees


@dataclass(frozen=True)
class SeeingFolder:
    """A whole folder. `window` is the default in tokens, `longest` what the model was made for."""

    path: Path
    architecture: str
    window: int
    longest: int
    weight_bytes: int
    sampling: Sampling


def sees(folder: Path) -> bool:
    """Whether the model in `folder` is one that sees."""
    return (folder / LANGUAGE).exists()


def find_seeing(name: str, home: Path) -> SeeingFolder:
    """The model of that name. Raises SetupError where it is none, or not whole; names the file."""
    path = locate(name, home).path
    for needed in NEEDED:
        if not (path / needed).is_file():
            raise SetupError(
                f"model '{name}' lacks the file {path / needed}",
                "accepted: a vision-language model as `optimum-cli export openvino` writes it",
            )
    read_template(path)
    config = _object(path / "config.json")
    generation = path / "generation_config.json"
    longest = _longest(config)
    return SeeingFolder(
        path=path,
        architecture=str(config.get("model_type", "unknown")),
        window=min(longest, DEFAULT_WINDOW),
        longest=longest,
        weight_bytes=sum(file.stat().st_size for file in path.glob("openvino_*_model.bin")),
        sampling=sampling_in(_object(generation) if generation.exists() else {}, generation),
    )


def _longest(config: Mapping[str, Any]) -> int:
    """How far the model sees; its text model says it in a table of its own, whatever its name."""
    for part in (config, config.get("text_config"), config.get("llm_config")):
        if isinstance(part, Mapping):
            told = part.get("max_position_embeddings")
            if isinstance(told, int) and not isinstance(told, bool) and told > 0:
                return told
    return _WINDOW


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"model file {file} is not JSON", "copy the model folder again") from error
    if not isinstance(found, dict):
        raise SetupError(f"model file {file} is no JSON object", "copy the model folder again")
    return found
