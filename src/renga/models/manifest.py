"""What a pulled model is and where it came from, as it stands beside its files.

Owns the record and the digests in it. A folder of a pull without a record is unfinished: it is
written last, in one move. It knows no hub and no formats.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from renga.errors import SetupError
from renga.models.names import is_inside

FILE: Final = "renga-manifest.json"
STAGING: Final = ".pull"  # where what is being fetched lies until all of it is there
READ_BYTES: Final = 1 << 20

Algorithm = Literal["sha256", "git-sha1"]


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Of all bytes so far."""


@dataclass(frozen=True)
class Recorded:
    """One file. `digest` is in hexadecimal; `commit` is the one that it was taken from."""

    path: str
    size: int
    algorithm: Algorithm
    digest: str
    commit: str = ""


@dataclass(frozen=True)
class Manifest:
    """The record of a folder. `source` is the hub's address, or the folder it was added from.

    `license` is as the hub says it, "" where nobody does.
    """

    name: str
    source: str
    revision: str = ""
    commit: str = ""
    license: str = ""
    license_link: str = ""
    files: tuple[Recorded, ...] = field(default=())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def digest_for(algorithm: Algorithm, size: int) -> Digest:
    """An empty digest for a file of `size` bytes.

    Large files of a hub are known by their SHA-256, small ones by git's name of their content.
    """
    if algorithm == "sha256":
        return hashlib.sha256()
    made = hashlib.sha1(usedforsecurity=False)  # git's own; nothing here depends on its strength
    made.update(b"blob %d\0" % size)
    return made


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    with path.open("rb") as opened:
        while piece := opened.read(READ_BYTES):
            yield piece


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's record, or None where it has none. Raises SetupError for one that is broken."""
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(_recorded(one) for one in found.pop("files"))
        return Manifest(**found, files=files)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SetupError(
            f"model file {path} is no record of a pull: {type(error).__name__}",
            "pull the model again, which writes it anew",
        ) from error


def earlier_manifest(folder: Path) -> Manifest | None:
    """The record as far as it says anything: for what goes on without one, or writes it anew."""
    try:
        return read_manifest(folder)
    except SetupError:
        return None


def _recorded(value: dict[str, Any]) -> Recorded:
    found = Recorded(**value)
    if not is_inside(found.path) or type(found.size) is not int:
        raise ValueError(found.path)
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the record in one move: after a crash there is all of it or nothing."""
    path = folder / FILE
    begun = path.with_suffix(".part")
    with begun.open("w", encoding="utf-8") as opened:
        json.dump(asdict(manifest), opened, indent=1)
        opened.write("\n")
        sync(opened.fileno())
    begun.replace(path)
    sync_folder(folder)


def sync(descriptor: int) -> None:
    """Have what was written reach the disk."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, where the system can say that of a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verify(folder: Path, manifest: Manifest, seen: Callable[[int], None]) -> list[str]:
    """What is not as recorded, in words, after reading every file; `seen` is given their bytes."""
    return [words for file in manifest.files if (words := _trouble(folder, file, seen))]


def _trouble(folder: Path, file: Recorded, seen: Callable[[int], None]) -> str:
    path = folder / file.path
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{file.path} has {size:,} bytes; {file.size:,} were recorded"
        digest = digest_for(file.algorithm, file.size)
        for piece in chunks(path):
            digest.update(piece)
            seen(len(piece))
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        return f"{file.path} " + ("is missing" if gone else f"cannot be read: {error.strerror}")
    if digest.hexdigest() != file.digest:
        return f"{file.path} has other content than was recorded"
    return ""
