"""Workspaces: what a key opens, made, listed and archived.

Owns that a workspace's name is what everything of it goes by (its ledger's rows, files, caches and
limits) and never changes, and the id that the Admin API knows it by, which follows from the name.
An archived workspace refuses all its keys, for good. Does not know HTTP.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from renga.errors import SetupError
from renga.keys import check_name
from renga.store import Store, keyring
from renga.store.keyring import WorkspaceRow

DEFAULT: Final = "default"
COLOR: Final = "#6C5BB9"
MOST_TAGS: Final = 50
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace as it is listed. Times in Unix seconds."""

    name: str
    created_at: float
    archived_at: float | None
    display_color: str
    tags: Mapping[str, str]

    @property
    def id(self) -> str:
        """What the Admin API calls it."""
        return workspace_id(self.name)


def workspace_id(name: str) -> str:
    """The id of the workspace of that name: `wrkspc_` and 24 hexadecimal digits of its SHA-256."""
    return f"wrkspc_{hashlib.sha256(name.encode()).hexdigest()[:24]}"


class Workspaces:
    """The workspaces of one database. `clock`: Unix seconds.

    The default one is there before anybody made it.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self, name: str, *, display_color: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Workspace:
        """Make one. Raises SetupError: no such name, or there is one of it, archived or not."""
        check_name("name", name)
        row = WorkspaceRow(
            workspace=name,
            created_us=round(self._clock() * _US),
            display_color=_color(display_color),
            tags=_tags(tags),
        )
        if name == DEFAULT or not await keyring.add_workspace(self._store, row):
            raise SetupError(
                f"name: there is a workspace {name!r} already",
                "`renga workspaces list` shows them",
            )
        return _workspace(row)

    async def list(self) -> list[Workspace]:
        """Every one that was ever made, oldest first; the default one before all others."""
        found = [_workspace(row) for row in await keyring.list_workspaces(self._store)]
        default = [w for w in found if w.name == DEFAULT] or [
            Workspace(DEFAULT, 0, None, COLOR, {})
        ]
        return [*default, *(w for w in found if w.name != DEFAULT)]

    async def get(self, name_or_id: str) -> Workspace | None:
        """One of them, by its name or its id."""
        found = await self.list()
        return next((w for w in found if name_or_id in (w.name, w.id)), None)

    async def archive(self, name: str) -> Workspace:
        """Refuse all its keys for good; in other processes within two seconds.

        Raises:
            SetupError: there is none such, or it is the default one.
        """
        if name == DEFAULT:
            raise SetupError("the default workspace cannot be archived", "disable its keys")
        return await self._change(name, {"archived_us": round(self._clock() * _US)})

    async def update(
        self, name: str, *, display_color: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Workspace:
        """Note another colour or other tags; None leaves what is noted. Raises SetupError."""
        values = {"display_color": _color(display_color), "tags": _tags(tags)}
        if name == DEFAULT and await self._is_new(name):
            row = WorkspaceRow(workspace=name, created_us=round(self._clock() * _US))
            await keyring.add_workspace(self._store, row)
        return await self._change(name, {k: v for k, v in values.items() if v is not None})

    async def _is_new(self, name: str) -> bool:
        found = await keyring.list_workspaces(self._store)
        return all(row.workspace != name for row in found)

    async def _change(self, name: str, values: Mapping[str, object]) -> Workspace:
        row = await keyring.change_workspace(self._store, name, values)
        if row is None:
            raise SetupError(
                f"there is no workspace {name!r}", "`renga workspaces list` shows them"
            )
        return _workspace(row)


def _color(given: str | None) -> str | None:
    if given is not None and not _COLOR.fullmatch(given):
        raise SetupError(f"display_color: {given[:20]!r}; accepted: such as {COLOR}")
    return given


def _tags(given: Mapping[str, str] | None) -> str | None:
    if given is None:
        return None
    if len(given) > MOST_TAGS:
        raise SetupError(f"tags: {len(given)} of them; accepted: {MOST_TAGS} at most")
    for name, value in given.items():
        check_name("tags", name)
        check_name(f"tags.{name}", value)
        if name.startswith("anthropic"):
            raise SetupError(f"tags.{name[:50]}: names may not begin with `anthropic`")
    return json.dumps(dict(given), sort_keys=True)


def _workspace(row: WorkspaceRow) -> Workspace:
    return Workspace(
        row.workspace,
        row.created_us / _US,
        None if row.archived_us is None else row.archived_us / _US,
        row.display_color or COLOR,
        json.loads(row.tags) if row.tags else {},
    )
