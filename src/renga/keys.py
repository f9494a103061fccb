"""API keys: made, listed, disabled, and resolved to the workspace that they stand for.

Owns what a key looks like and what of it is kept: a salted digest, never the key. Keys are
192 random bits, so one round of SHA-256 is as good as many; a slow hash would only slow requests.

Does not know HTTP; which addresses may do without a key is decided where requests come in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from renga.errors import SetupError
from renga.store import Store, keyring
from renga.store.keyring import KeyRow

PREFIX: Final = "sk-renga-"
CACHE_SECONDS: Final = 2.0
"""How long a key that another process disabled may still be accepted."""

_LOOKUP_LENGTH: Final = 12
_LENGTH: Final = len(PREFIX) + _LOOKUP_LENGTH + 48
_CACHED: Final = 4096
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Owner:
    """What a key stands for: its workspace, and its own id."""

    workspace: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed; the key itself is not kept. Times in Unix seconds.

    Attributes:
        hint: its public beginning, enough to tell keys apart.
    """

    key_id: str
    name: str
    workspace: str
    hint: str
    created_at: float
    disabled_at: float | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: `plain` is shown once and cannot be had again."""

    key: Key
    plain: str


@dataclass(frozen=True, slots=True)
class _Known:
    owner: Owner
    salt: str
    digest: str
    read_at: float


class Keys:
    """The keys of one database.

    Args:
        store: the open database.
        clock: Unix seconds, for the stamps.
        entropy: random bytes of a length.
        ticks: seconds of a clock that never goes back, for the age of what was read.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._ticks = ticks
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._any: bool = False

    async def create(self, name: str, workspace: str = "default") -> NewKey:
        """Make a key, and its workspace if it is new.

        Raises:
            SetupError: the name or the workspace is empty, too long or not printable.
            StoreError: the database cannot be written.
        """
        _check("name", name)
        _check("workspace", workspace)
        lookup, secret = self._entropy(_LOOKUP_LENGTH // 2).hex(), self._entropy(24).hex()
        plain, salt = f"{PREFIX}{lookup}{secret}", self._entropy(16).hex()
        row = KeyRow(
            key_id=f"key_{self._entropy(8).hex()}",
            name=name,
            workspace=workspace,
            lookup=lookup,
            salt=salt,
            digest=_digest(salt, plain),
            created_us=round(self._clock() * 1_000_000),
        )
        await keyring.add(self._store, row)
        self._any = True
        return NewKey(_key(row), plain)

    async def list(self) -> list[Key]:
        """Every key that was ever made, oldest first."""
        return [_key(row) for row in await keyring.list_all(self._store)]

    async def disable(self, key_id: str) -> Key:
        """Refuse a key from now on; in other processes within `CACHE_SECONDS`.

        Raises:
            SetupError: there is no such key.
        """
        now_us = round(self._clock() * 1_000_000)
        row = await keyring.disable(self._store, key_id, now_us=now_us)
        if row is None:
            raise SetupError(f"key_id: there is no key {key_id!r}", "`renga keys list` shows them")
        self._known.pop(row.lookup, None)
        return _key(row)

    async def resolve(self, presented: str) -> Owner | None:
        """What `presented` stands for; None if it is not a key, unknown or disabled.

        About three microseconds for a key seen in the last `CACHE_SECONDS`, else one indexed read.
        """
        if len(presented) != _LENGTH or not presented.startswith(PREFIX) or not presented.isascii():
            return None
        lookup = presented[len(PREFIX) : len(PREFIX) + _LOOKUP_LENGTH]
        known = self._known.get(lookup)
        if known is None or self._ticks() - known.read_at > CACHE_SECONDS:
            known = await self._find(lookup)
        if known is None:
            return None
        matches = hmac.compare_digest(known.digest, _digest(known.salt, presented))
        return known.owner if matches else None

    async def _find(self, lookup: str) -> _Known | None:
        read_at = self._ticks()
        row = await keyring.find(self._store, lookup)
        if row is None or row.disabled_us is not None:
            self._known.pop(lookup, None)
            return None
        known = _Known(Owner(row.workspace, row.key_id), row.salt, row.digest, read_at)
        self._known[lookup] = known
        self._known.move_to_end(lookup)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return known

    async def any_exist(self) -> bool:
        """Whether a key was ever made; disabling the last one does not open the server again."""
        if not self._any:
            self._any = await keyring.any_exist(self._store)
        return self._any


def _digest(salt: str, plain: str) -> str:
    return hashlib.sha256(f"{salt}:{plain}".encode()).hexdigest()


def _check(field: str, value: str) -> None:
    if not value.strip() or len(value) > _LONGEST_NAME or not value.isprintable():
        raise SetupError(
            f"{field}: {value[:50]!r}; accepted: 1 to {_LONGEST_NAME} printable characters"
        )


def _key(row: KeyRow) -> Key:
    return Key(
        key_id=row.key_id,
        name=row.name,
        workspace=row.workspace,
        hint=PREFIX + row.lookup,
        created_at=row.created_us / 1_000_000,
        disabled_at=None if row.disabled_us is None else row.disabled_us / 1_000_000,
    )
