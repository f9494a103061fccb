"""Where an answer comes from: the parts of a server in this process, or a server elsewhere.

Owns that the commands cannot tell the difference: both are a stream of events, then an account of
what it took. In this process the request takes the gateway's path and stands in the ledger like
any other. It prints nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from renga.app import App
from renga.caller import Caller
from renga.config import Config
from renga.errors import ApiError, InvalidRequest, RengaError, SetupError, find_error
from renga.events import Event, MessageDelta, MessageStart, TextDelta, ordered
from renga.http.validation import parse
from renga.types import MessagesRequest

TIMEOUT_SECONDS: Final = 600.0
EVENTS: Final[TypeAdapter[Event]] = TypeAdapter(Event)


@dataclass
class Account:
    """What one answer took. Seconds from the question; `cost_usd` is exact, None while unknown."""

    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None
    stop_reason: str = ""
    first_seconds: float | None = None
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of writing, after the first token."""
        if self.first_seconds is None or self.output_tokens < 2:
            return None
        writing = self.seconds - self.first_seconds
        return (self.output_tokens - 1) / writing if writing > 0 else None

    def line(self) -> str:
        """The account in one line."""
        parts = [self.model, f"{self.input_tokens}+{self.output_tokens} tokens"]
        if self.first_seconds is not None:
            parts.append(f"first after {self.first_seconds * 1000:.0f} ms")
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.0f} tokens/s")
        if self.cost_usd is not None:
            parts.append(f"${self.cost_usd}")
        if self.stop_reason not in ("", "end_turn"):
            parts.append(self.stop_reason)
        return " · ".join(parts)


class Source(Protocol):
    """Streams of events; the account of the last one."""

    def stream(self, request: MessagesRequest) -> AsyncIterator[Event]:
        """The answer's events. Raises RengaError."""

    async def cost_usd(self) -> str | None:
        """What the last answer cost."""

    async def aclose(self) -> None:
        """Free everything."""


def request_of(body: dict[str, Any]) -> MessagesRequest:
    """`body` as the server would take it. Raises InvalidRequest, for bytes that are no text too."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("what was given is not UTF-8 text") from error
    return parse(MessagesRequest, body)


async def texts(source: Source, request: MessagesRequest, account: Account) -> AsyncIterator[str]:
    """The answer's text in pieces; `account` is filled on the way, even if this is closed early."""
    began = time.perf_counter()
    try:
        async with aclosing(source.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, MessageStart):
                    account.model = event.message.model
                    account.input_tokens = event.message.usage.input_tokens
                elif isinstance(event, MessageDelta):
                    account.output_tokens = event.usage.output_tokens
                    account.stop_reason = event.delta.stop_reason
                elif event.type == "content_block_delta" and isinstance(event.delta, TextDelta):
                    if account.first_seconds is None:
                        account.first_seconds = time.perf_counter() - began
                    yield event.delta.text
    finally:
        account.seconds = time.perf_counter() - began
    account.cost_usd = await source.cost_usd()


class Here:
    """The whole path in this process."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._last: Caller | None = None

    @classmethod
    async def start(cls, config: Config) -> Here:
        """Start what the configuration names. Raises SetupError."""
        return cls(await App.start(config))

    def stream(self, request: MessagesRequest) -> AsyncIterator[Event]:
        """See Source."""
        self._last = Caller(workspace="default", request_id=self._app.ids("req"))
        return self._app.gateway.stream(request, self._last)

    async def cost_usd(self) -> str | None:
        """See Source."""
        return self._last.receipt.cost_usd if self._last else None

    async def aclose(self) -> None:
        """See Source."""
        await self._app.aclose()


class There:
    """A server at `url`, asked as the official clients ask."""

    def __init__(self, url: str, key: str) -> None:
        secure, self._host, self._port, self._prefix = _address(url)
        if not (key.isascii() and key.isprintable()):
            raise SetupError("ANTHROPIC_API_KEY holds characters that no key has")
        self._connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._headers = {
            "content-type": "application/json",
            "x-api-key": key,
            "anthropic-version": "2023-06-01",
        }
        self._request_id: str | None = None

    def stream(self, request: MessagesRequest) -> AsyncIterator[Event]:
        """See Source. A stream that ends before its end is an error, not a short answer."""
        return ordered(self._stream(request))

    async def _stream(self, request: MessagesRequest) -> AsyncIterator[Event]:
        body = request.model_dump(mode="json", exclude_none=True, by_alias=True)
        connection = self._connect(self._host, self._port, timeout=TIMEOUT_SECONDS)
        lines = self._lines(connection, {**body, "stream": True})
        try:
            while (data := await asyncio.to_thread(next, lines, None)) is not None:
                yield self._event(data)
        finally:
            # A thread may be waiting in a read: this ends its wait.
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _lines(
        self, connection: http.client.HTTPConnection, body: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        response = self._call(connection, "POST", "/v1/messages", body)
        self._request_id = response.headers.get("request-id")
        try:
            for line in response:
                if line.startswith(b"data:"):
                    yield self._json(line[5:])
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"the connection to {self._host} was lost: {error}") from error

    def _call(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
    ) -> http.client.HTTPResponse:
        sent = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, self._prefix + path, sent, self._headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise SetupError(
                f"cannot reach {self._host}:{connection.port}: {_reason(error)}",
                "is the server running? `renga serve` starts one",
            ) from error
        if response.status >= 400:
            raise refusal(response)
        return response

    def _object(self, method: str, path: str) -> dict[str, Any]:
        connection = self._connect(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            return self._json(self._call(connection, method, path).read())
        finally:
            connection.close()

    def _json(self, text: bytes) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise self.stranger() from error
        if not isinstance(found, dict):
            raise self.stranger()
        return found

    def _event(self, data: dict[str, Any]) -> Event:
        try:
            if data.get("type") == "error":
                raise find_error(data["error"]["type"], data["error"]["message"])
            return EVENTS.validate_python(data)
        except (ValueError, KeyError, TypeError) as error:
            raise self.stranger() from error

    def stranger(self) -> ApiError:
        """For an answer that cannot be read."""
        return ApiError(f"{self._host} does not answer as a server of this API does")

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises RengaError or SetupError."""
        return await asyncio.to_thread(self._object, "GET", path)

    async def post(self, path: str) -> dict[str, Any]:
        """What the server answers there to an empty body. Raises RengaError or SetupError."""
        return await asyncio.to_thread(self._object, "POST", path)

    async def cost_usd(self) -> str | None:
        """See Source; None where the server keeps no ledger that it shows."""
        if not self._request_id:
            return None
        try:
            row = await self.get(f"/v1/renga/requests/{self._request_id}")
        except RengaError:
            return None
        cost = row.get("cost_usd")
        return cost if isinstance(cost, str) else None

    async def aclose(self) -> None:
        """Nothing is kept open."""


def _address(url: str) -> tuple[bool, str, int | None, str]:
    """Whether it is https, then host, port and path of `url`. Raises SetupError."""
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or not host.isprintable() or " " in host or parts.scheme not in ("http", "https"):
        raise SetupError(f"--against {url}: not a server's address", "such as http://host:8787")
    return parts.scheme == "https", host, port, parts.path.rstrip("/")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def refusal(response: http.client.HTTPResponse) -> Exception:
    """What a server's refusal says."""
    text = response.read()
    try:
        error = json.loads(text)["error"]
        return find_error(error["type"], error["message"])
    except (ValueError, KeyError, TypeError):
        return ApiError(f"the server answered {response.status} {response.reason}")
