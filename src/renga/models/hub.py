"""A client of the Hugging Face hub's few routes: what a repository holds, and the bytes of a file.

Owns how the hub is spoken to: its addresses, its refusals in our words, redirects that take the
token to nobody else, and that nothing it says is trusted before it was checked. It writes nothing
and tries nothing twice: `renga.models.pulling` does.

Source: the hub's OpenAPI document (`/api/models/{repo}/revision/{rev}`, `/api/models/{repo}/tree/
{rev}`, `/{repo}/resolve/{rev}/{path}`) and the headers that `huggingface_hub` reads.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from renga.errors import SetupError
from renga.models.manifest import Algorithm
from renga.models.names import is_inside

MOST_REDIRECTS: Final = 5
MOST_PAGES: Final = 200
MOST_FILES: Final = 100_000
ANSWER_BYTES: Final = 64_000_000  # of a listing or a description
PIECE: Final = 1 << 20
CONNECT_SECONDS, SILENCE_SECONDS = 30.0, 60.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGESTS: Final[dict[Algorithm, re.Pattern[str]]] = {
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "git-sha1": _COMMIT,
}
_LIMIT = re.compile(r";\s*t\s*=\s*(\d+)")
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))


class Interrupted(Exception):
    """What may go well when it is tried again; `wait` is what the hub asked for, in seconds."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.wait = wait


class WrongBytes(Exception):
    """Not the file that the hub's listing describes."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository; `digest` is in hexadecimal."""

    path: str
    size: int
    algorithm: Algorithm
    digest: str


@dataclass(frozen=True)
class Repository:
    """What the hub says of one commit. `license` is "" where nobody says one."""

    repo: str
    revision: str
    commit: str
    license: str
    license_link: str
    gated: bool
    files: tuple[RemoteFile, ...]


class Hub:
    """The hub at `endpoint`; `token` goes to it alone. Use as an async context manager."""

    def __init__(self, endpoint: str, token: str = "") -> None:
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        try:
            base = URL(self.endpoint)
            whole = base.scheme in ("http", "https") and base.host is not None
        except ValueError:
            whole = False
        if not whole:
            raise SetupError(
                f"HF_ENDPOINT = {endpoint!r} is no address", "such as https://huggingface.co"
            )
        if base.user is not None:
            raise SetupError(
                "HF_ENDPOINT has a user's name in it", "a token goes into HF_TOKEN, which is secret"
            )
        self._origin = base.origin()

    async def __aenter__(self) -> Hub:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        # Not trust_env: with proxies it takes passwords from .netrc, and shows them to everybody.
        self._session = aiohttp.ClientSession(timeout=timeout, read_bufsize=PIECE // 2)
        return self

    async def __aexit__(self, *ignored: object) -> None:
        assert self._session is not None, "opened"
        await self._session.close()

    @property
    def has_token(self) -> bool:
        """Whether it is shown one."""
        return bool(self._token)

    async def describe(self, repo: str, revision: str) -> Repository:
        """The repository at `revision`, with all its files.

        Raises SetupError where there is none for us, Interrupted where it may work later.
        """
        path = f"/api/models/{repo}/revision/{quote(revision, safe='')}"
        about, _ = await self._object(f"{self.endpoint}{path}", repo, revision)
        commit = about.get("sha") if isinstance(about, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise self._stranger("its description of the model names no commit")
        card = about.get("cardData")
        license_, link = _license(card if isinstance(card, dict) else {}, about.get("tags"))
        files = await self._files(repo, commit)
        return Repository(
            repo, revision, commit, license_, link, bool(about.get("gated")), tuple(files)
        )

    async def _files(self, repo: str, commit: str) -> list[RemoteFile]:
        url: str | None = f"{self.endpoint}/api/models/{repo}/tree/{commit}?recursive=true"
        found: dict[str, RemoteFile] = {}
        for _ in range(MOST_PAGES):
            assert url is not None, "there is a next page"
            page, url = await self._object(url, repo, commit)
            if not isinstance(page, list):
                raise self._stranger("its listing is no list")
            for entry in page:
                file = self._file(entry, repo)
                if file is not None:
                    found[file.path] = file
            if url is None and len(found) <= MOST_FILES:
                return list(found.values())
        raise self._stranger(
            f"its listing has more than {MOST_FILES:,} files or {MOST_PAGES} pages"
        )

    def _file(self, entry: Any, repo: str) -> RemoteFile | None:
        """One row of a listing, checked; None for a folder."""
        if not isinstance(entry, dict) or entry.get("type") not in ("file", "directory"):
            raise self._stranger("a row of its listing is neither a file nor a folder")
        path = entry.get("path")
        if not isinstance(path, str) or not is_inside(path):
            raise SetupError(
                f"the listing of '{repo}' has a file outside of its folder: {path!a}",
                "nothing was taken; the repository is not to be trusted",
            )
        if entry["type"] == "directory":
            return None
        large = entry.get("lfs")
        algorithm: Algorithm = "sha256" if isinstance(large, dict) else "git-sha1"
        source = large if isinstance(large, dict) else entry
        size, digest = source.get("size"), source.get("oid")
        if type(size) is not int or size < 0 or not isinstance(digest, str):
            raise self._stranger(f"its listing has no size or digest of {path}")
        digest = digest.removeprefix("sha256:").lower()
        if not _DIGESTS[algorithm].fullmatch(digest):
            raise self._stranger(f"its listing has no digest of {path}")
        return RemoteFile(path, size, algorithm, digest)

    async def _object(self, url: str, repo: str, revision: str) -> tuple[Any, str | None]:
        """A JSON document of the hub, and the address of its next page."""
        async with self._opened(url, repo, revision) as response:
            text = bytearray()
            async for piece in _pieces(response):
                text += piece
                if len(text) > ANSWER_BYTES:
                    raise self._stranger("its answer has no end")
            following = response.links["next"]["url"] if "next" in response.links else None
        try:
            document = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._stranger("its answer is not JSON") from error
        if following is not None and URL(str(following)).origin() != self._origin:
            raise self._stranger("the next page of its listing is elsewhere")
        return document, None if following is None else str(following)

    async def read(
        self, repository: Repository, file: RemoteFile, start: int
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Bytes of `file` from `start` on, in pieces with their places; some begin at 0 again.

        Raises Interrupted, WrongBytes where the sizes disagree, or SetupError.
        """
        path = f"/{repository.repo}/resolve/{repository.commit}/{quote(file.path)}"
        headers = {"accept-encoding": "identity"}
        if start:
            headers["range"] = f"bytes={start}-"
        async with self._opened(
            self.endpoint + path, repository.repo, repository.revision, headers
        ) as response:
            place = _place(response, file, start)
            async for piece in _pieces(response):
                if place + len(piece) > file.size:
                    raise WrongBytes(f"more than its {file.size:,} bytes came")
                yield place, piece
                place += len(piece)
        if place < file.size:
            raise Interrupted(f"the connection ended after {place:,} of {file.size:,} bytes")

    @asynccontextmanager
    async def _opened(
        self, url: str, repo: str, revision: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a GET, behind its redirects. Raises SetupError or Interrupted."""
        assert self._session is not None, "used inside `async with`"
        target = URL(url, encoded=True)
        for _ in range(MOST_REDIRECTS + 1):
            sent = dict(headers or {})
            if self._token and target.origin() == self._origin:
                sent["authorization"] = f"Bearer {self._token}"
            try:
                async with self._session.get(
                    target, headers=sent, allow_redirects=False, **_proxy(target)
                ) as response:
                    if response.status not in (301, 302, 303, 307, 308):
                        self._check(response, repo, revision)
                        yield response
                        return
                    location = response.headers.get("location", "")
                    target = URL(self.follow(str(target), location), encoded=True)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Interrupted(_words(error, target)) from error
        raise self._stranger("it redirects without end")

    def follow(self, here: str, location: str) -> str:
        """Where a redirect leads. Raises SetupError for nowhere, and for the way out of TLS."""
        try:
            there = URL(here, encoded=True).join(URL(location, encoded=True))
        except ValueError as error:
            raise self._stranger("it redirects to no address") from error
        accepted = ("https",) if here.startswith("https:") else ("http", "https")
        if not location or there.scheme not in accepted or not there.host:
            raise self._stranger(f"it redirects to {str(there)!a}")
        return str(there.with_user(None))

    def _check(self, response: aiohttp.ClientResponse, repo: str, revision: str) -> None:
        """Raise what a refusal means; the hub's codes first, then the status alone."""
        if response.status in (200, 206):
            return
        if response.status in _RETRIED:
            words = "limits how much is asked" if response.status == 429 else "is in trouble"
            raise Interrupted(f"{self.endpoint} {words} ({response.status})", _wait(response))
        code = response.headers.get("x-error-code", "")
        if code == "GatedRepo" or response.status == 403:
            raise self.gated(repo)
        if code == "RevisionNotFound":
            raise SetupError(
                f"'{repo}' has no revision '{revision}'", "leave @REVISION out for the newest"
            )
        if code == "EntryNotFound":
            raise SetupError(
                f"'{repo}' at '{revision}' does not have a file that its listing names",
                "pull it again; a mirror may not have it all",
            )
        if response.status == 401 and self._token and code != "RepoNotFound":
            raise SetupError(
                f"{self.endpoint} does not accept the token in HF_TOKEN", "renew it, or unset it"
            )
        if response.status in (401, 404):
            raise SetupError(
                f"there is no model '{repo}' at {self.endpoint}, or none that is open to you",
                "check the name; for a private one set HF_TOKEN to a token that may read it",
            )
        if response.status == 416:
            raise WrongBytes("the hub has fewer bytes of it")
        raise self._stranger(f"it answers {response.status}")

    def gated(self, repo: str) -> SetupError:
        """What to do for a repository whose terms are to be accepted first."""
        mend = "then set HF_TOKEN to a token of the account that did"
        return SetupError(
            f"'{repo}' is gated: its owner opens it to those who accept its terms",
            f"accept them at {self.endpoint}/{repo}, {mend}"
            + ("; the token that is set may not read it" if self._token else ""),
        )

    def _stranger(self, words: str) -> SetupError:
        return SetupError(
            f"{self.endpoint} does not answer as a hub does: {words}",
            "check HF_ENDPOINT, and whether a proxy answers in the hub's place",
        )


def _proxy(target: URL) -> dict[str, Any]:
    """The proxy between here and `target`, by the variables that all programs use: see `get`.

    Raises SetupError for one that is not spoken to.
    """
    given = getproxies().get(target.scheme)
    if not given or proxy_bypass(target.host or ""):
        return {}
    try:
        proxy = URL(given)
        if proxy.scheme not in ("http", "https") or not proxy.host:
            raise ValueError(given)
        headers = {}
        if proxy.user:
            pair = f"{proxy.user}:{proxy.password or ''}".encode()
            headers["authorization"] = f"Basic {b64encode(pair).decode()}"
        return {"proxy": proxy.with_user(None), "proxy_headers": headers}
    except ValueError as error:
        name = f"{target.scheme.upper()}_PROXY"
        raise SetupError(
            f"{name} names no proxy that is spoken to", f"such as {name}=http://HOST:PORT"
        ) from error


def _license(card: Mapping[str, Any], tags: Any) -> tuple[str, str]:
    """The licence's name and link: the card has them; else a tag has the name."""
    given = card.get("license")
    names = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if names == ["other"] and isinstance(card.get("license_name"), str):
        names = [card["license_name"]]
    if not names and isinstance(tags, list):
        names = [tag[8:] for tag in tags if isinstance(tag, str) and tag.startswith("license:")]
    link = card.get("license_link")
    return _line(", ".join(map(str, names))), _line(link if isinstance(link, str) else "")


def _line(text: str) -> str:
    """What a stranger wrote, as one short line that is safe to print."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200]


def _place(response: aiohttp.ClientResponse, file: RemoteFile, start: int) -> int:
    """Where in the file the answer's body begins. Raises WrongBytes where sizes disagree."""
    length = response.content_length
    if response.status == 200:
        if length is not None and length != file.size:
            raise WrongBytes(f"{length:,} bytes were offered, {file.size:,} are listed")
        return 0
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
    if found is None or int(found[1]) != start or found[2] not in ("*", str(file.size)):
        raise WrongBytes(f"another part than the one from byte {start:,} on was offered")
    return start


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes: small pieces of a slow one, larger ones where the disk is slower."""
    while piece := await response.content.read(PIECE):
        yield piece


def _wait(response: aiohttp.ClientResponse) -> float:
    """How long a refusal asks to wait, in seconds: `retry-after`, else the draft's `ratelimit`."""
    given = response.headers.get("retry-after", "")
    if given.isdecimal():
        return float(given)
    limit = _LIMIT.search(response.headers.get("ratelimit", ""))
    return float(limit[1]) if limit else 0.0


def _words(error: Exception, target: URL) -> str:
    host = target.host or str(target)
    if isinstance(error, TimeoutError):
        return f"{host} was silent for too long"
    return f"the connection to {host} failed: {_line(str(error)) or type(error).__name__}"
