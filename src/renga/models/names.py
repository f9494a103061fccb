"""Names of models at a hub: `ORG/NAME[:FILE][@REVISION]`.

Owns what such a name may look like, and where its parts end. It knows no hub and no folder.

Source of the rules: the Hugging Face hub's own for repositories ("[A-Za-z0-9_.-], no `--` or `..`,
neither begins nor ends with `-` or `.`, 96 characters"), and the custom of llama.cpp and Ollama to
name one file, or its quantization alone, behind a colon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from renga.errors import SetupError

MAIN = "main"
LONGEST_PART = 96

# People paste addresses; these are the ones that mean the hub and nothing more.
_PREFIXES = ("https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/", "hf:")
_NAME = re.compile(r"(?P<repo>[^:@]*)(?::(?P<file>[^@]*))?(?:@(?P<revision>.*))?", re.S)
_PART = re.compile(r"(?![-.])[A-Za-z0-9_.-]+(?<![-.])")
_REVISION = re.compile(r"(?!/)[A-Za-z0-9_./-]+(?<!/)")

HINT = "such as Qwen/Qwen3-0.6B-GGUF:Q4_K_M, or Qwen/Qwen3-0.6B@main"


@dataclass(frozen=True)
class ModelName:
    """`repo` is ORG/NAME; `file` a file of it, or a quantization; "" where none is named."""

    repo: str
    file: str = ""
    revision: str = ""

    def __str__(self) -> str:
        file = f":{self.file}" if self.file else ""
        return self.repo + file + (f"@{self.revision}" if self.revision else "")

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """The parts of `text`. Raises SetupError that says what is wrong with it."""
        short = text.strip()
        for prefix in _PREFIXES:
            short = short.removeprefix(prefix)
        match = _NAME.fullmatch(short)
        if match is None or not is_repository(match["repo"]):
            raise SetupError(f"'{text}' is no model's name; accepted: ORG/NAME[:FILE]", HINT)
        file, revision = match["file"], match["revision"]
        if file is not None and not is_inside(file):
            raise SetupError(f"'{text}': '{file}' is no file's name", HINT)
        if revision is not None and not (_REVISION.fullmatch(revision) and is_inside(revision)):
            raise SetupError(f"'{text}': '{revision}' is no revision", HINT)
        return cls(match["repo"], file or "", revision or "")


def is_repository(text: str) -> bool:
    """Whether `text` has the form ORG/NAME."""
    parts = text.split("/")
    return len(parts) == 2 and all(is_name(part) for part in parts)


def is_name(part: str) -> bool:
    """Whether `part` may be one of the two, or the name of a folder of models."""
    wrong = "--" in part or ".." in part or len(part) > LONGEST_PART
    return not wrong and _PART.fullmatch(part) is not None


def is_inside(path: str) -> bool:
    """Whether `path` is the relative name of a file that can only lie below its folder.

    Control characters are none of it, as names are printed to terminals.
    """
    wrong = "\\" in path or ":" in path or not path.isprintable() or len(path.encode()) > 1_000
    return not wrong and all(part not in ("", ".", "..") for part in path.split("/"))
