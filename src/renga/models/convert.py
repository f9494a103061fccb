"""From a safetensors checkpoint to a model folder that can be served: once, and kept beside it.

Owns when a conversion is needed, that a killed one leaves nothing that could be taken for a model,
and that two commands do not make the same at the same time. The work is done in a process of its
own, `renga.engine.conversion`; which architectures there are is said by `renga.models.families`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from renga.errors import SetupError
from renga.models.families import read_network

Weights = Literal["int8", "stored", "float32"]
Progress = Callable[[int, int], None]

# Part of every key: a graph that would be built otherwise than before gets a new number here.
_FORM = 1
_CONFIG, _WORDS = "config.json", "tokenizer.json"
_FILES: Final = (
    _CONFIG,
    _WORDS,
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
_UNFINISHED = ".unfinished-"


def check_checkpoint(folder: Path, name: str = "") -> None:
    """Raise SetupError where a checkpoint is of a family that is not built, or lacks its words.

    Looks at `config.json` and at which files there are: weights need not be there yet.
    """
    name = name or folder.name
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupError(
            f"model file {folder / _CONFIG}: is missing", "copy the model folder again"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SetupError(
            f"model file {folder / _CONFIG} cannot be read: {str(error).partition(chr(10))[0]}",
            "copy the model folder again",
        ) from error
    if not isinstance(config, dict):
        raise SetupError(
            f"model file {folder / _CONFIG} holds no JSON object", "copy the model folder again"
        )
    read_network(config, name)
    if not (folder / _WORDS).exists():
        there = [n for n in ("tokenizer.model", "vocab.json", "vocab.txt") if (folder / n).exists()]
        instead = f", only {there[0]}" if there else ""
        raise SetupError(
            f"{name} has no {_WORDS}{instead}",
            "take a repository that has one, or make it with transformers: "
            "AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)",
        )


def ensure_ir(
    folder: Path, cache: Path, *, weights: Weights = "int8", progress: Progress | None = None
) -> Path:
    """The checkpoint of `folder` as a model folder, made in `cache` where it is not there yet.

    It is made again when a file of the checkpoint has changed, and what was made before goes. It
    takes, on disk and in memory, a byte for each weight (int8); memory is given back at the end.

    Args:
        folder: an ordinary repository's folder: `config.json`, `*.safetensors`, tokenizer.
        cache: a folder for the conversions of this checkpoint alone; made where there is none.
        weights: how matrices are stored: "int8" with a scale per row, or "stored" as they are.
        progress: called with how many elements are done, and of how many.

    Raises:
        SetupError: its family is not built here, a file is broken, or the disk is full.
    """
    check_checkpoint(folder)
    made = cache / _key(folder, weights)
    if made.is_dir():
        return made
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"folder {cache} cannot be made: {error.strerror}", "the converted model goes there"
        ) from error
    with _alone(cache):
        if not made.is_dir():  # whoever had the lock before may have made it
            _make(folder, made, weights, progress or (lambda _done, _all: None))
    return made


def find_ir(folder: Path, cache: Path, *, weights: Weights = "int8") -> Path | None:
    """What `ensure_ir` made of the checkpoint as it is now, or None where it was not called yet."""
    made = cache / _key(folder, weights)
    return made if made.is_dir() else None


def _make(folder: Path, made: Path, weights: Weights, progress: Progress) -> None:
    """Convert into a folder of another name and rename it, so that a folder of `made` is whole."""
    _clear(made.parent, lambda name: name.startswith(_UNFINISHED))
    work = made.with_name(_UNFINISHED + made.name)
    try:
        _convert(folder, work, weights, progress)
        for path in work.iterdir():
            with path.open("rb") as written:
                os.fsync(written.fileno())
        work.rename(made)
    except OSError as error:
        raise SetupError(
            f"model folder {work}: {error.strerror or error}",
            "is there room on that disk for the converted model?",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _clear(made.parent, lambda name: name != made.name)


def _convert(folder: Path, out: Path, weights: Weights, progress: Progress) -> None:
    command = [sys.executable, "-m", "renga.engine.conversion", str(folder), str(out), weights]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                _hear(json.loads(line), progress)
            process.wait()  # before its stdin is closed, which it takes for our end
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise SetupError(
            f"the conversion of {folder.name} ended before it was done ({process.returncode})",
            "was it killed, or out of memory? it takes a byte for each weight, and 300 MB",
        )


def _hear(said: dict[str, Any], progress: Progress) -> None:
    if "message" in said:
        raise SetupError(said["message"], said["hint"])
    progress(said["done"], said["all"])


def _key(folder: Path, weights: Weights) -> str:
    """A name for what would come of the folder's files as they are now."""
    seen = hashlib.sha256(f"{_FORM} {weights}".encode())
    for path in [*sorted(folder.glob("*.safetensors*")), *(folder / name for name in _FILES)]:
        if path.exists():
            facts = path.stat()
            seen.update(f"\n{path.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return f"{weights}-{seen.hexdigest()[:16]}"


def _clear(cache: Path, doomed: Callable[[str], bool]) -> None:
    for path in cache.iterdir():
        if path.is_dir() and doomed(path.name):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the lock of that folder; waits for whoever has it. It goes with its process."""
    descriptor = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
