"""Signatures of thinking: that a block is what a model here wrote, and where it stood.

Owns three rules: a signature says by itself which key made it, so that a key that is followed by a
newer one goes on to be understood; what another server signed is foreign, not wrong; text that a
caller did not want to see travels in the signature; and so does what the origin of a text signed it
with, which gets that back as it was. Text is packed, not encrypted: its caller may see it by asking
(docs/decisions/0012). It knows no blocks and no conversations.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from renga.errors import SetupError

KEY_FILE = "thinking.keys"
VERSION = "rg1."
CARRYING = "rg2."  # with the signature of an origin behind the MAC, and its length before it

_NAME_BYTES, _PLACE_BYTES, _MAC_BYTES = 8, 16, 32
_HEAD = _NAME_BYTES + _PLACE_BYTES + _MAC_BYTES
_LENGTH_BYTES = 4
_SECRET_BYTES = 32
_LINE = re.compile(r"[0-9a-f]{64}")

Verdict = Literal["ours", "tampered", "foreign"]


@dataclass(frozen=True)
class Checked:
    """What a signature says of a block.

    Where it is `ours`, `thinking` is its text and `origin` what was carried in the signature.
    """

    verdict: Verdict
    thinking: str = ""
    origin: str = ""


class Signer:
    """Signs with the last of `secrets_` and understands them all, each of 32 bytes."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        self._secrets = {_name(secret): secret for secret in secrets_}
        self._newest = _name(secrets_[-1])

    @classmethod
    def temporary(cls) -> Signer:
        """With a key of its own: what it signed, nobody understands after it."""
        return cls([secrets.token_bytes(_SECRET_BYTES)])

    @classmethod
    def load(cls, home: Path) -> Signer:
        """With the keys of a state folder, where a first one is made. Raises SetupError."""
        file = home / KEY_FILE
        try:
            if not file.exists():
                _write_first(file)
            lines = file.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"cannot use the key file {file}: {error}", _HINT) from error
        if not lines or not all(_LINE.fullmatch(line) for line in lines):
            raise SetupError(f"key file {file}: accepted: lines of 64 hexadecimal digits", _HINT)
        return cls([bytes.fromhex(line) for line in lines])

    def sign(self, thinking: str, place: bytes, *, shown: bool, origin: str = "") -> str:
        """The signature of a text at a place; it carries the text where that is not shown.

        `place` is any digest of where the block stands, `origin` what is to be carried with it.
        """
        hidden = b"" if shown else zlib.compress(_raw(thinking), 9)
        stands, carried = _short(place), _raw(origin)
        mac = self._mac(self._newest, stands, thinking, hidden, carried)
        length = len(carried).to_bytes(_LENGTH_BYTES, "big") if origin else b""
        blob = self._newest + stands + mac + length + carried + hidden
        version = CARRYING if origin else VERSION
        return version + base64.urlsafe_b64encode(blob).decode().rstrip("=")

    def check(self, thinking: str, signature: str, place: bytes) -> Checked:
        """Whether a block came from here, unchanged, and stands where it stood."""
        version, encoded = signature[: len(VERSION)], signature[len(VERSION) :]
        if version not in (VERSION, CARRYING):
            return Checked("foreign")
        try:
            blob = base64.b64decode(encoded + "=" * (-len(encoded) % 4), "-_", validate=True)
        except ValueError:
            return Checked("tampered")
        if len(blob) < _HEAD:
            return Checked("tampered")
        name, rest = blob[:_NAME_BYTES], blob[_NAME_BYTES:]
        stood, rest = rest[:_PLACE_BYTES], rest[_PLACE_BYTES:]
        mac, hidden = rest[:_MAC_BYTES], rest[_MAC_BYTES:]
        carried = b""
        if version == CARRYING:
            length = int.from_bytes(hidden[:_LENGTH_BYTES], "big")
            hidden = hidden[_LENGTH_BYTES:]
            carried, hidden = hidden[:length], hidden[length:]
            if not length or len(carried) != length:
                return Checked("tampered")
        if name not in self._secrets:
            return Checked("foreign")
        if not hmac.compare_digest(mac, self._mac(name, stood, thinking, hidden, carried)):
            return Checked("tampered")
        if stood != _short(place):
            return Checked("foreign")
        read = _unpacked(hidden) if hidden else thinking
        return Checked("ours", read, carried.decode("utf-8", "surrogatepass"))

    def _mac(
        self, name: bytes, place: bytes, thinking: str, hidden: bytes, carried: bytes
    ) -> bytes:
        """Over the text where it is shown, over what it is packed into where it is not."""
        said = b"omitted" + place + hidden if hidden else b"shown" + place + _raw(thinking)
        version = VERSION.encode()
        if carried:
            version = CARRYING.encode() + len(carried).to_bytes(_LENGTH_BYTES, "big") + carried
        return hmac.digest(self._secrets[name], version + said, "sha256")


_HINT = "move it away: a new one is made, and thinking that was signed before counts as foreign"


def add_key(home: Path) -> int:
    """Add a key to a state folder, for a server to sign with from its next start on.

    Returns how many there are now; those before go on to be understood. Raises SetupError.
    """
    Signer.load(home)
    file = home / KEY_FILE
    try:
        gap = "" if file.read_text(encoding="ascii").endswith("\n") else "\n"
        with file.open("a", encoding="ascii") as opened:
            opened.write(f"{gap}{secrets.token_hex(_SECRET_BYTES)}\n")
        return len(file.read_text(encoding="ascii").split())
    except OSError as error:
        raise SetupError(f"cannot write the key file {file}: {error}", _HINT) from error


def _write_first(file: Path) -> None:
    """A key file for its owner alone. Where another process was quicker, its file stays."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{secrets.token_hex(_SECRET_BYTES)}\n")
        _place(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, file: Path) -> None:
    """Give `draft` the name `file`, unless another process was quicker."""
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not file.exists():
            draft.replace(file)


def _name(secret: bytes) -> bytes:
    """What a signature calls a key by; it tells nothing of the key."""
    return hashlib.blake2b(secret, digest_size=_NAME_BYTES, person=b"renga-thinking").digest()


def _short(place: bytes) -> bytes:
    return hashlib.blake2b(place, digest_size=_PLACE_BYTES).digest()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _unpacked(hidden: bytes) -> str:
    return zlib.decompress(hidden).decode("utf-8", "surrogatepass")
