"""The Files API: upload, list, look at, download, delete.

Owns the fields of an upload, the pages of a list in both forms (by an opaque `page`, and by ids
under the beta `files-api-2025-04-14`), and who may download: nobody what was uploaded, as in the
API, unless the configuration says so. An upload is written to the disk while it comes. What a file
is and how long it stays is `renga.files`'s.

Source: "Files API" of the API's documentation; `resources/files.py` of the official `anthropic`
package, 2.12, and `resources/beta/files.py` of 0.125.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import BinaryIO, Literal
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from renga.caller import Caller
from renga.errors import InvalidRequest, NotFound, RequestTooLarge
from renga.files.library import LONGEST_LIFE, MB, SHORTEST_LIFE, Files, Incoming, StoredFile
from renga.http.account import Account
from renga.http.auth import Auth
from renga.http.models import limit_of
from renga.http.multipart import Data, Part, parts_of
from renga.http.versions import (
    betas_of,
    ignored_header,
    ignored_headers,
    ignored_query,
    version_of,
)

OLD_BETA = "files-api-2025-04-14"
MOST_IDS = 100  # of one list
LONGEST_FIELD = 100  # bytes of a field that is no file
FOR_FORM = 65_536  # bytes of a body around its file, announced sizes considered
READ_BYTES = 1 << 18
QUERY = frozenset({"beta", "limit", "page", "ids", "ids[]", "after_id", "before_id", "scope_id"})


class FileMetadata(TypedDict):
    """What is known of a file. Times are RFC 3339; `expires_at` is null for never."""

    id: str
    type: Literal["file"]
    filename: str
    mime_type: str
    size_bytes: int
    created_at: str
    downloadable: bool
    expires_at: str | None


class FilePage(TypedDict):
    """Files, the newest first; `next_page` is null on the last page."""

    data: list[FileMetadata]
    next_page: str | None


class FilePageByIds(TypedDict):
    """Files, the newest first, as the beta lists them."""

    data: list[FileMetadata]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(TypedDict):
    """A file that is no more."""

    id: str
    type: Literal["file_deleted"]


class FileEndpoints:
    """The endpoints over the files of one server. `downloadable`: whether uploads can be had."""

    def __init__(self, *, files: Files, auth: Auth, account: Account, downloadable: bool) -> None:
        self._files = files
        self._auth = auth
        self._account = account
        self._downloadable = downloadable

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/files", self.upload, methods=["POST"]),
            Route("/v1/files", self.list, methods=["GET"]),
            Route("/v1/files/{file_id}", self.retrieve, methods=["GET"]),
            Route("/v1/files/{file_id}", self.delete, methods=["DELETE"]),
            Route("/v1/files/{file_id}/content", self.download, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Store a file."""
        caller = await self._caller(request)
        self._refuse_announced(request)
        async with self._files.receive(caller.workspace) as incoming:
            upload = _Upload(incoming)
            async for found in parts_of(request):
                await upload.see(found)
            stored = await upload.finish()
        return JSONResponse(self._described(stored), headers=_ignored(request))

    async def list(self, request: Request) -> Response:
        """A page of files, or those of some ids."""
        caller = await self._caller(request)
        if request.query_params.get("scope_id"):
            raise InvalidRequest("scope_id: this server has no sessions; leave it out")
        if OLD_BETA in betas_of(request):
            body: FilePage | FilePageByIds = await self._page_by_ids(request, caller)
        else:
            body = await self._page(request, caller)
        return JSONResponse(body, headers=_ignored(request))

    async def retrieve(self, request: Request) -> Response:
        """What is known of a file."""
        caller = await self._caller(request)
        found = await self._files.get(caller.workspace, request.path_params["file_id"])
        return JSONResponse(self._described(found), headers=_ignored(request))

    async def delete(self, request: Request) -> Response:
        """Delete a file."""
        caller = await self._caller(request)
        file_id = request.path_params["file_id"]
        await self._files.delete(caller.workspace, file_id)
        body = DeletedFile(id=file_id, type="file_deleted")
        return JSONResponse(body, headers=_ignored(request))

    async def download(self, request: Request) -> Response:
        """The bytes of a file."""
        caller = await self._caller(request)
        file_id = request.path_params["file_id"]
        found, file = await self._files.open(caller.workspace, file_id)
        if not self._downloadable:
            file.close()
            raise InvalidRequest(
                f"File '{file_id}' is not downloadable: only files that a tool made can be "
                "downloaded; `downloadable` of [files] in this server's configuration allows it",
                code="file_not_downloadable",
            )
        headers = {
            "content-length": str(found.size_bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(found.filename, safe='')}",
            "x-content-type-options": "nosniff",
            **_ignored(request),
        }
        return StreamingResponse(_bytes_of(file), headers=headers, media_type=found.mime_type)

    async def _caller(self, request: Request) -> Caller:
        caller = await self._auth.caller(request, "files")
        self._account.note(request, caller)
        version_of(request)
        return caller

    def _refuse_announced(self, request: Request) -> None:
        """A 413 before the first byte, where the client says that there are too many."""
        told = request.headers.get("content-length", "")
        most = self._files.most_bytes
        if told.isascii() and told.isdigit() and int(told) > most + FOR_FORM:
            raise RequestTooLarge(
                f"file: it is over the limit of {most / MB:g} MB ({most:,} bytes)"
            )

    async def _page(self, request: Request, caller: Caller) -> FilePage:
        query = request.query_params
        for name in ("after_id", "before_id"):
            if name in query:
                raise InvalidRequest(
                    f"{name}: send `page` instead, or `anthropic-beta: {OLD_BETA}`"
                )
        ids = list(dict.fromkeys(query.getlist("ids[]") + query.getlist("ids")))
        if ids:
            shown = await self._files.get_all(caller.workspace, _checked_ids(request, ids))
            return FilePage(data=[self._described(f) for f in shown], next_page=None)
        limit, after = limit_of(query.get("limit")), _place(query.get("page"))
        shown, more = await self._files.page(caller.workspace, limit, after=after)
        following = _cursor(shown[-1].place) if more else None
        return FilePage(data=[self._described(f) for f in shown], next_page=following)

    async def _page_by_ids(self, request: Request, caller: Caller) -> FilePageByIds:
        query = request.query_params
        after, before = query.get("after_id"), query.get("before_id")
        if after is not None and before is not None:
            raise InvalidRequest("before_id: send either after_id or before_id")
        shown, more = await self._files.page(
            caller.workspace,
            limit_of(query.get("limit")),
            after=await self._place_of("after_id", after, caller),
            before=await self._place_of("before_id", before, caller),
        )
        return FilePageByIds(
            data=[self._described(f) for f in shown],
            has_more=more,
            first_id=shown[0].file_id if shown else None,
            last_id=shown[-1].file_id if shown else None,
        )

    async def _place_of(
        self, name: str, file_id: str | None, caller: Caller
    ) -> tuple[int, str] | None:
        if file_id is None:
            return None
        try:
            return (await self._files.get(caller.workspace, file_id)).place
        except NotFound as error:
            raise InvalidRequest(f"{name}: {error.message}") from error

    def _described(self, file: StoredFile) -> FileMetadata:
        return {
            "id": file.file_id,
            "type": "file",
            "filename": file.filename,
            "mime_type": file.mime_type,
            "size_bytes": file.size_bytes,
            "created_at": _time(file.created_at),
            "downloadable": self._downloadable,
            "expires_at": None if file.expires_at is None else _time(file.expires_at),
        }


class _Upload:
    """The fields of an upload while they come."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._part: Part | None = None
        self._seen: set[str] = set()
        self._filename = self._content_type = ""
        self._life = b""

    async def see(self, found: Part | Data) -> None:
        """Take a part's beginning, or more bytes of it."""
        if isinstance(found, Part):
            self._begin(found)
        elif self._part is not None and self._part.name == "file":
            await self._incoming.write(found.data)
        else:
            self._life += found.data
            if len(self._life) > LONGEST_FIELD:
                raise _bad_life(self._life)

    def _begin(self, part: Part) -> None:
        if part.name not in ("file", "expires_in_seconds"):
            raise InvalidRequest(
                f"{part.name[:100]}: Extra inputs are not permitted; accepted: file, "
                "expires_in_seconds"
            )
        if part.name in self._seen:
            raise InvalidRequest(f"{part.name}: it is there twice")
        self._seen.add(part.name)
        self._part = part
        if part.name == "file":
            self._filename = part.filename or ""
            self._content_type = part.content_type

    async def finish(self) -> StoredFile:
        """The file, once all parts have come."""
        if "file" not in self._seen:
            raise InvalidRequest("file: Field required")
        life = _life_of(self._life) if "expires_in_seconds" in self._seen else None
        return await self._incoming.finish(
            filename=self._filename, content_type=self._content_type, expires_in=life
        )


def _life_of(raw: bytes) -> int:
    text = raw.decode("utf-8", "replace").strip()
    if text.isascii() and text.isdigit() and SHORTEST_LIFE <= int(text) <= LONGEST_LIFE:
        return int(text)
    raise _bad_life(raw)


def _bad_life(raw: bytes) -> InvalidRequest:
    return InvalidRequest(
        f"expires_in_seconds: '{raw[:40].decode('utf-8', 'replace')}'; accepted: a whole number, "
        f"{SHORTEST_LIFE:,} to {LONGEST_LIFE:,}"
    )


def _checked_ids(request: Request, ids: list[str]) -> list[str]:
    if "page" in request.query_params or "limit" in request.query_params:
        raise InvalidRequest("ids: cannot be combined with `page` or `limit`")
    if len(ids) > MOST_IDS:
        raise InvalidRequest(f"ids: {len(ids):,} of them; accepted: {MOST_IDS} at most")
    return ids


def _cursor(place: tuple[int, str]) -> str:
    return "page_" + base64.urlsafe_b64encode(f"{place[0]}:{place[1]}".encode()).decode()


def _place(cursor: str | None) -> tuple[int, str] | None:
    if not cursor:
        return None
    wrong = InvalidRequest(f"page: '{cursor[:40]}'; accepted: `next_page` of an earlier answer")
    if not cursor.startswith("page_"):
        raise wrong
    try:
        told = base64.b64decode(cursor[5:], altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise wrong from error
    created_us, _, file_id = told.partition(":")
    if not (created_us.isascii() and created_us.isdigit() and len(created_us) < 19):
        raise wrong
    return int(created_us), file_id


async def _bytes_of(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, READ_BYTES):
            yield piece


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _ignored(request: Request) -> dict[str, str]:
    return ignored_header([*ignored_headers(request), *ignored_query(request, QUERY)])
