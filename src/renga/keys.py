"""API keys: made, listed, changed, and resolved to what they stand for.

Owns what a key looks like, what of it is kept (a salted digest, never the key), and what it may do:
its scopes. Keys are 192 random bits, so one round of SHA-256 is as good as many; a slow hash would
only slow requests. When a key was last used is noted to the minute, and written for all keys
together once a minute.

Does not know HTTP; which addresses may do without a key is decided where requests come in.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from renga.errors import SetupError
from renga.store import Store, StoreError, keyring
from renga.store.keyring import KeyRow

Scope = Literal["messages", "batches", "files", "models", "usage", "metrics", "admin"]
Status = Literal["active", "inactive", "archived", "expired"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
COMMON: Final[frozenset[str]] = frozenset(SCOPES) - {"metrics", "admin"}
"""What a key may do where nothing is said of it."""

PREFIX: Final = "sk-renga-"
CACHE_SECONDS: Final = 2.0
"""How long a key that another process disabled may still be accepted."""

STAMP_SECONDS: Final = 60.0
LONGEST_NAME: Final = 200

_LOOKUP_LENGTH: Final = 12
_LENGTH: Final = len(PREFIX) + _LOOKUP_LENGTH + 48
_CACHED: Final = 4096
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Owner:
    """What a key stands for: its workspace, its own id and name, and what it may do."""

    workspace: str
    key_id: str
    name: str = ""
    scopes: frozenset[str] = COMMON


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed; the key itself is not kept. Times in Unix seconds.

    Attributes:
        hint: its public beginning, enough to tell keys apart.
        disabled_at: since when it is refused, until it is enabled again.
        archived_at: since when it is refused for good.
        expires_at: from when on it is refused; None for never.
        last_used_at: to the minute; None for never.
    """

    key_id: str
    name: str
    workspace: str
    hint: str
    created_at: float
    disabled_at: float | None
    archived_at: float | None = None
    expires_at: float | None = None
    scopes: tuple[Scope, ...] = ()
    last_used_at: float | None = None

    def status(self, now: float) -> Status:
        """How it is at a time."""
        if self.archived_at is not None:
            return "archived"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "active" if self.disabled_at is None else "inactive"


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
    expires_us: int | None
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
        self._used: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}

    # -- what a person does with them --

    async def create(
        self,
        name: str,
        workspace: str = "default",
        *,
        scopes: Iterable[str] | None = None,
        expires_at: float | None = None,
    ) -> NewKey:
        """Make a key, and its workspace if it is new.

        `scopes` are those of `COMMON` where none are named; `expires_at` is in Unix seconds.

        Raises:
            SetupError: the name or the workspace is empty, too long or not printable, the workspace
                is archived, a scope is unknown, or the key would be expired already.
            StoreError: the database cannot be written.
        """
        check_name("name", name)
        check_name("workspace", workspace)
        allowed = None if scopes is None else _joined(scopes)
        now = self._clock()
        if expires_at is not None and not now < expires_at < 253_402_300_800:
            raise SetupError("expires_at: that is not a time to come, before the year 10,000")
        lookup, secret = self._entropy(_LOOKUP_LENGTH // 2).hex(), self._entropy(24).hex()
        plain, salt = f"{PREFIX}{lookup}{secret}", self._entropy(16).hex()
        row = KeyRow(
            key_id=f"key_{self._entropy(8).hex()}",
            name=name,
            workspace=workspace,
            lookup=lookup,
            salt=salt,
            digest=_digest(salt, plain),
            created_us=round(now * _US),
            expires_us=None if expires_at is None else round(expires_at * _US),
            scopes=allowed,
        )
        entered = await keyring.add(self._store, row)
        if entered.archived_us is not None:
            raise SetupError(
                f"workspace: '{workspace}' is archived, and has no new keys",
                "name another; `renga workspaces list` shows them",
            )
        self._any = True
        return NewKey(_key(row), plain)

    async def list(self) -> list[Key]:
        """Every key that was ever made, oldest first."""
        return [_key(row) for row in await keyring.list_all(self._store)]

    async def get(self, key_id: str) -> Key | None:
        """One of them."""
        row = await keyring.get(self._store, key_id)
        return None if row is None else _key(row)

    async def disable(self, key_id: str) -> Key:
        """Refuse a key from now on; in other processes within `CACHE_SECONDS`.

        Raises:
            SetupError: there is no such key.
        """
        return await self._change(key_id, disabled_us=round(self._clock() * _US))

    async def enable(self, key_id: str) -> Key:
        """Take a key again that was disabled. Raises SetupError: none such, or it is archived."""
        key = await self.get(key_id)
        if key is not None and key.archived_at is not None:
            raise SetupError(f"key_id: {key_id} is archived, which is for good")
        return await self._change(key_id, disabled_us=None)

    async def archive(self, key_id: str) -> Key:
        """Refuse a key for good. Raises SetupError: there is no such key."""
        return await self._change(key_id, archived_us=round(self._clock() * _US))

    async def rename(self, key_id: str, name: str) -> Key:
        """Call a key something else. Raises SetupError: no such key, or no such name."""
        check_name("name", name)
        return await self._change(key_id, name=name)

    async def _change(self, key_id: str, **values: object) -> Key:
        row = await keyring.change(self._store, key_id, values)
        if row is None:
            raise SetupError(f"key_id: there is no key {key_id!r}", "`renga keys list` shows them")
        self._known.pop(row.lookup, None)
        return _key(row)

    # -- what requests do with them --

    async def resolve(self, presented: str) -> Owner | None:
        """What `presented` stands for; None if it is not a key, unknown, or refused by now.

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
        if not hmac.compare_digest(known.digest, _digest(known.salt, presented)):
            return None
        now = self._clock()
        if known.expires_us is not None and now * _US >= known.expires_us:
            return None
        minute = int(now // 60)
        if self._used.get(known.owner.key_id) != minute:
            self._used[known.owner.key_id] = minute
            self._unwritten[known.owner.key_id] = minute * 60 * _US
        return known.owner

    async def _find(self, lookup: str) -> _Known | None:
        read_at = self._ticks()
        found = await keyring.find(self._store, lookup)
        if found is None or found[1] or found[0].disabled_us or found[0].archived_us:
            self._known.pop(lookup, None)
            return None
        row = found[0]
        owner = Owner(row.workspace, row.key_id, row.name, frozenset(_scopes(row)))
        known = _Known(owner, row.salt, row.digest, row.expires_us, read_at)
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

    # -- when they were used --

    def keep_stamped(self) -> None:
        """Write once a minute when keys were last used."""
        self._store.writer.every(
            STAMP_SECONDS, lambda connection: keyring.stamp_uses(connection, self._taken())
        )

    async def aclose(self) -> None:
        """Write when keys were last used, if it can be written."""
        with suppress(StoreError):
            await self.stamp()

    async def stamp(self) -> None:
        """Write now when keys were last used."""
        uses = self._taken()
        await self._store.write(lambda connection: keyring.stamp_uses(connection, uses))

    def _taken(self) -> dict[str, int]:
        uses, self._unwritten = self._unwritten, {}
        return uses


def check_name(field: str, value: str) -> None:
    """Raise SetupError for a name that cannot be shown in a line."""
    if not value.strip() or len(value) > LONGEST_NAME or not value.isprintable():
        raise SetupError(
            f"{field}: {value[:50]!r}; accepted: 1 to {LONGEST_NAME} printable characters"
        )


def _digest(salt: str, plain: str) -> str:
    return hashlib.sha256(f"{salt}:{plain}".encode()).hexdigest()


def _joined(scopes: Iterable[str]) -> str:
    given = list(dict.fromkeys(scopes))
    accepted = "accepted: " + ", ".join(SCOPES)
    if not given:
        raise SetupError("scopes: none is named, and such a key may do nothing", accepted)
    for scope in given:
        if scope not in SCOPES:
            near = difflib.get_close_matches(scope, SCOPES, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else accepted
            raise SetupError(f"scopes: there is no {scope[:50]!r}", hint)
    return ",".join(scope for scope in SCOPES if scope in given)


def _scopes(row: KeyRow) -> tuple[Scope, ...]:
    named = COMMON if row.scopes is None else frozenset(row.scopes.split(","))
    return tuple(scope for scope in SCOPES if scope in named)


def _key(row: KeyRow) -> Key:
    return Key(
        key_id=row.key_id,
        name=row.name,
        workspace=row.workspace,
        hint=PREFIX + row.lookup,
        created_at=row.created_us / _US,
        disabled_at=_seconds(row.disabled_us),
        archived_at=_seconds(row.archived_us),
        expires_at=_seconds(row.expires_us),
        scopes=_scopes(row),
        last_used_at=_seconds(row.last_used_us),
    )


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / _US
