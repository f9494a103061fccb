"""From a model's name to where it lies and what it is: a folder, or one GGUF file.

Owns which names there are: `shipped:NAME`, what was pulled or added under `models/` of the state
folder (`ORG/NAME`, with `:FILE` behind it for one of several GGUF files, or `NAME` alone), and a
path. Whether what lies there is whole is for `renga.models.find` and `renga.models.gguf`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from renga.config import BackendConfig, Kind
from renga.errors import SetupError
from renga.models.manifest import FILE, STAGING
from renga.models.names import is_name, is_repository
from renga.models.selection import Format, Sizes, is_gguf, select

SHIPPED: Final = "shipped:"

# The kind of backend that serves each format.
KIND_OF: Final[dict[Format, Kind]] = {
    "openvino": "local",
    "openvino_vision": "openvino_vlm",
    "safetensors": "local",
    "gguf": "llamacpp",
}


@dataclass(frozen=True)
class Located:
    """What a name means. `path` is a folder, or of a GGUF model its first file.

    `format` is None for a folder that holds no model, or only a part of one.
    """

    name: str
    path: Path
    format: Format | None


def locate(name: str, home: Path) -> Located:
    """Where the model of that name lies. Raises SetupError where there is none, with what to do."""
    if name.startswith(SHIPPED):
        return _in_folder(name, _known(name, name.removeprefix(SHIPPED), _shipped(), SHIPPED), "")
    base, _, file = name.partition(":")
    if is_repository(base) or is_name(base):
        folder = home / "models" / base
        if is_model(folder):
            return _in_folder(name, folder, file)
        if (folder / STAGING).is_dir():
            raise SetupError(
                f"the pull of '{base}' is not finished", f"go on with it: renga models pull {name}"
            )
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(name, path, "")
    if path.exists():
        return _file(name, path)
    raise _unknown(name, home)


def resolved(backend: BackendConfig, home: Path) -> BackendConfig:
    """The backend with its kind told by its model's files, where the configuration leaves it open.

    Raises SetupError where the model is not there.
    """
    if backend.kind != "auto":
        return backend
    return replace(backend, kind=KIND_OF[locate(backend.model, home).format or "openvino"])


def installed(home: Path) -> Iterator[tuple[str, Path]]:
    """Names and folders of what was pulled or added, in order; the unfinished too."""
    root = home / "models"
    for folder in _folders(root):
        if _is_something(folder):
            yield folder.name, folder
        else:
            yield from ((f"{folder.name}/{one.name}", one) for one in _folders(folder))


def shipped() -> Iterator[tuple[str, Path]]:
    """Names and folders of the models that the package holds."""
    for folder in _folders(_shipped()):
        if is_model(folder):
            yield SHIPPED + folder.name, folder


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model: it has a record, or nobody pulled it and it has some file."""
    if (folder / FILE).exists():
        return True
    return not (folder / STAGING).exists() and _has_files(folder)


def sizes_in(folder: Path) -> Sizes:
    """Bytes of each file below `folder` that could be a part of a model, by its relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            found[relative.as_posix()] = path.stat().st_size
    return found


def _in_folder(name: str, folder: Path, file: str) -> Located:
    sizes = sizes_in(folder)
    try:
        selection = select(sizes, file, name)
    except SetupError:
        if file or any(is_gguf(path) for path in sizes):
            raise
        return Located(name, folder, None)  # `find` says what is missing
    path = folder / selection.paths[0] if selection.format == "gguf" else folder
    return Located(name, path, selection.format)


def _file(name: str, path: Path) -> Located:
    if is_gguf(path.name):
        return Located(name, path, "gguf")
    raise SetupError(
        f"model '{name}' is a file, not a folder", "accepted: a model folder, or a .gguf file"
    )


def _unknown(name: str, home: Path) -> SetupError:
    base = name.partition(":")[0]
    if is_repository(base):
        return SetupError(
            f"model '{name}' is not here: nothing was pulled under that name, and there is no such "
            f"folder at {Path(name).absolute()}",
            f"pull it: renga models pull {name}; or give the path of a folder that is there",
        )
    if len(Path(name).parts) > 1 or Path(name).is_absolute():
        return SetupError(
            f"model '{name}': there is no such folder", "accepted: ORG/NAME, or a model folder"
        )
    known = ", ".join(known for known, _ in installed(home)) or "none"
    return SetupError(
        f"there is no model '{name}' in {home / 'models'}",
        f"found there: {known}; or give a folder's path, or ORG/NAME of a hub",
    )


def _known(name: str, last: str, parent: Path, prefix: str) -> Path:
    there = [folder.name for folder in _folders(parent) if is_model(folder)]
    if last in there:
        return parent / last
    known = ", ".join(prefix + n for n in there) or "none"
    raise SetupError(f"there is no model '{name}' in {parent}", f"found there: {known}")


def _shipped() -> Path:
    return Path(__file__).parent / "shipped"


def _folders(parent: Path) -> list[Path]:
    """The folders in `parent`, in order; none where there is no `parent`."""
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _is_something(folder: Path) -> bool:
    return (folder / STAGING).is_dir() or (folder / FILE).exists() or _has_files(folder)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.iterdir())
