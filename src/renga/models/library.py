"""What is on this machine: the models under the state folder, listed, checked, added and removed.

Owns what a folder of `models/` is said to be, and that nothing outside of it is ever removed: what
was added stands there by links, and only those go. It knows no hub.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from renga.errors import SetupError
from renga.models.find import describe_checkpoint, describe_folder
from renga.models.gguf import find_gguf
from renga.models.locate import SHIPPED, installed, locate, shipped, sizes_in
from renga.models.locking import locked, make_folder
from renga.models.manifest import (
    STAGING,
    Manifest,
    Recorded,
    chunks,
    earlier_manifest,
    read_manifest,
    write_manifest,
)
from renga.models.names import ModelName, is_name, is_repository
from renga.models.selection import (
    FORMAT_WORDS,
    Format,
    Selection,
    gguf_choices,
    is_gguf,
    projector_of,
    select,
)
from renga.models.vision import find_seeing


class Progress(Protocol):
    """Who is told how it goes, in bytes."""

    def begin(self, total: int, there: int) -> None:
        """So many bytes are to be there, so many are."""

    def advance(self, size: int) -> None:
        """More came."""


@dataclass(frozen=True)
class Entry:
    """One model that is here. `format` is None where its folder holds none; `size` is in bytes.

    `label` is behind the name's colon where there are several in one folder. `trouble` says why it
    cannot be served, or is "".
    """

    name: str
    folder: Path
    format: Format | None
    size: int
    label: str = ""
    license: str = ""
    trouble: str = ""

    @property
    def full_name(self) -> str:
        """What serves it."""
        return f"{self.name}:{self.label}" if self.label else self.name

    @property
    def words(self) -> str:
        """Its format, for a person."""
        return FORMAT_WORDS[self.format] if self.format else "?"


def list_models(home: Path) -> list[Entry]:
    """Every model that is here, shipped ones first; those of one folder below each other."""
    return [
        entry for name, folder in [*shipped(), *installed(home)] for entry in _entries(name, folder)
    ]


def _entries(name: str, folder: Path) -> Iterator[Entry]:
    sizes = sizes_in(folder)
    license_ = ""
    try:
        manifest = read_manifest(folder)
        license_ = manifest.license if manifest else ""
    except SetupError as error:
        yield Entry(name, folder, None, sum(sizes.values()), trouble=error.message)
        return
    if manifest is None and (folder / STAGING).is_dir():
        came = sum(path.stat().st_size for path in (folder / STAGING).iterdir())
        words = f"not finished: `renga models pull {name}` goes on"
        yield Entry(name, folder, None, came, trouble=words)
        return
    choices = gguf_choices(sizes)
    if not choices or any(not is_gguf(path) for path in sizes if path.startswith("openvino_")):
        yield _entry(name, folder, "", license_, sum(sizes.values()))
        return
    for choice in choices:
        label = choice.label if len(choices) > 1 else ""
        yield _entry(name, folder, label, license_, choice.size)


def _entry(name: str, folder: Path, label: str, license_: str, size: int) -> Entry:
    """One of them, with a look whether it could be served; its weights are not read."""
    form: Format | None = None
    trouble = ""
    try:
        selection = select(sizes_in(folder), label, name)
        form = selection.format
        check(folder, selection)
    except SetupError as error:
        trouble = error.message
    return Entry(name, folder, form, size, label, license_, trouble)


def check(folder: Path, selection: Selection) -> None:
    """Raise SetupError where the files that were selected are no model that could be served."""
    match selection.format:
        case "openvino":
            describe_folder(folder.name, folder)
        case "gguf":
            find_gguf(folder / selection.paths[0])
        case "safetensors":
            describe_checkpoint(folder.name, folder)
        case "openvino_vision":
            find_seeing(str(folder), folder)


def record_of(name: str, home: Path) -> tuple[Path, Manifest | None]:
    """Folder and record of a model that is listed; a shipped one has no record.

    Raises SetupError for every other.
    """
    folder = _folder_of(name, home)
    return folder, read_manifest(folder)


def _folder_of(name: str, home: Path) -> Path:
    known = dict([*shipped(), *installed(home)])
    base = name
    if not is_shipped(name):
        base = ModelName.parse(name).repo if "/" in name else name.partition(":")[0]
    if base not in known:
        there = ", ".join(known) or "none"
        raise SetupError(f"there is no model '{base}' in {home / 'models'}", f"there: {there}")
    return known[base]


def is_shipped(name: str) -> bool:
    """Whether the name is that of a model that comes with the package."""
    return name.startswith(SHIPPED)


def remove(name: str, home: Path) -> int:
    """Remove a model, or the one file of it that `:FILE` means; returns the bytes that went.

    Raises SetupError where there is none, or another command works on it.
    """
    folder = _folder_of(name, home)
    if is_shipped(name):
        raise SetupError(f"'{name}' comes with renga, and goes with it", "pip uninstall renga")
    file = name.partition(":")[2]
    with _disk(folder), locked(folder, name):
        return _remove_file(folder, name, file) if file else _remove_folder(folder, home)


def _remove_folder(folder: Path, home: Path) -> int:
    if folder.is_symlink():  # somebody's own, which stays
        folder.unlink()
        size = 0
    else:
        size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
        shutil.rmtree(folder)
    with suppress(OSError):  # others of the same organization
        if folder.parent != home / "models":
            folder.parent.rmdir()
    return size


def _remove_file(folder: Path, name: str, file: str) -> int:
    sizes = sizes_in(folder)
    selection = select(sizes, file, name)
    if selection.format != "gguf":
        raise SetupError(
            f"'{name}': only GGUF files are removed one by one",
            f"the whole model: renga models remove {name.partition(':')[0]}",
        )
    others = [c for c in gguf_choices(sizes) if c.paths[0] != selection.paths[0]]
    projector = projector_of(sizes)
    paths = [path for path in selection.paths if path != projector or not others]
    manifest = earlier_manifest(folder)
    if manifest is not None:
        left = tuple(one for one in manifest.files if one.path not in paths)
        write_manifest(folder, _with_files(manifest, left))
    for path in paths:
        (folder / path).unlink()
    if not others:
        shutil.rmtree(folder)
    return sum(sizes[path] for path in paths)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """What the disk refuses, as one line."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"folder {folder} cannot be changed: {error.strerror or error}",
            "is there room on its disk, and is it yours to write?",
        ) from error


def _with_files(manifest: Manifest, files: tuple[Recorded, ...]) -> Manifest:
    return replace(manifest, files=files)


def add(path: Path, name: str, home: Path, *, copied: bool, progress: Progress) -> Manifest:
    """Put a folder's or a file's model under `models/`, by links or as copies; records digests.

    Raises SetupError where it is no model that could be served, or the name is taken.
    """
    if not (is_repository(name) or is_name(name)):
        raise SetupError(f"'{name}' is no model's name", "accepted: NAME or ORG/NAME; see --as")
    source = path.expanduser().resolve()
    found = locate(str(source), home)
    base, file = (source, "") if source.is_dir() else (source.parent, source.name)
    selection = select(sizes_in(base), file, str(path))
    check(base, selection)
    if found.format is None:
        raise SetupError(f"'{path}' holds no model", "see `renga models add --help`")
    folder = home / "models" / name
    if folder.exists():
        raise SetupError(f"there is a model '{name}' already", "choose another with --as NAME")
    make_folder(folder)
    sizes = sizes_in(base)
    progress.begin(sum(sizes[path] for path in selection.paths), 0)
    try:
        with _disk(folder), locked(folder, name):
            (folder / STAGING).mkdir()
            files = tuple(
                _place(base, folder, path, copied=copied, seen=progress.advance)
                for path in selection.paths
            )
            manifest = Manifest(name=name, source=str(source), files=files)
            write_manifest(folder, manifest)
            (folder / STAGING).rmdir()
    except BaseException:
        shutil.rmtree(folder)
        raise
    return manifest


def _place(
    base: Path, folder: Path, path: str, *, copied: bool, seen: Callable[[int], None]
) -> Recorded:
    """One file of the model in its new place, read once for its digest."""
    source, target = base / path, folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        copy = stack.enter_context(target.open("wb")) if copied else None
        for piece in chunks(source):
            if copy is not None:
                copy.write(piece)
            digest.update(piece)
            size += len(piece)
            seen(len(piece))
    if not copied:
        target.symlink_to(source)
    return Recorded(path, size, "sha256", digest.hexdigest())
