"""A backend that is another server of the Messages API: api.anthropic.com, another renga, others.

Nearly nothing is translated: the request goes out as it would have come in, under the model's name
there, and the events that come back are checked and go on. Owns what is left: which headers are
sent, what the server can do by its own list of models, and that what it signed goes back to it and
to nobody else (`asking`, `answer`). Requests of batches may go into batches there (`handing`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from renga.backends.base import Attempt, Capabilities, Health, refuse
from renga.backends.messages.answer import Answer, error_of, events_of_message
from renga.backends.messages.asking import betas_for, body_of, counting_body_of
from renga.backends.messages.handing import Handing, Line, error_of_end
from renga.backends.messages.models import capabilities_of, check_abilities
from renga.backends.remote import Upstream
from renga.backends.remote.affinity import heads_of
from renga.config import BackendConfig
from renga.errors import RengaError
from renga.events import Event, Ping
from renga.machine import Machine
from renga.reading import is_longer
from renga.store import Store
from renga.types import Likelihood, MessagesRequest, Prompt, ScoreRequest

VERSION: Final = "2023-06-01"
"""The version that every such server speaks; what later ones took away is not sent anyway."""

LOOK_SECONDS: Final = 5.0  # for the list of models
# Characters of a prompt, beyond which it is written beside the event loop, and what a block weighs.
IN_LOOP: Final = 131_072
PER_BLOCK: Final = 64
Asked = TypeVar("Asked", bound=Prompt)

_log = logging.getLogger(__name__)

# Longer answers are streamed also where nobody waits for their parts: a server that is silent for
# as long as one takes would be given up.
WHOLE_TOKENS: Final = 4_096


class MessagesBackend:
    """See the module. `upstream` is what tests put in the place of the configured servers."""

    kind = "messages"

    def __init__(
        self,
        config: BackendConfig,
        *,
        home: Path | None = None,
        machine: Machine | None = None,
        upstream: Upstream | None = None,
    ) -> None:
        check_abilities(config)
        self.name = config.name
        self._config = config
        self._upstream = upstream or Upstream(
            config, headers=headers_of(config), probe=self._path("/v1/models?limit=1")
        )
        self._capabilities = capabilities_of(None, config)
        self._known = False
        self._answering = asyncio.Semaphore(config.max_running)  # of what no batch there takes
        self.handing: Handing | None = None

    def keep_handovers(self, store: Store, clock: Callable[[], float]) -> None:
        """Hand requests of batches over, where that is configured, and note it in `store`."""
        if self._config.batch == "upstream":
            self.handing = Handing(self._upstream, store, path=self._path, clock=clock)

    @property
    def capabilities(self) -> Capabilities:
        """By the server's own list, once it could be asked; else what such servers can do."""
        return self._capabilities

    @property
    def open_streams(self) -> int:
        """Requests that the servers have now."""
        return sum(replica.open for replica in self._upstream.replicas.all)

    async def start(self) -> None:
        """Connect. A server that cannot be reached yet is left to come."""
        await self._upstream.start()
        if self.handing is not None:
            await self.handing.start()
        if self._upstream.health().ready:
            await self._learn()

    async def aclose(self) -> None:
        if self.handing is not None:
            await self.handing.aclose()
        await self._upstream.aclose()

    def health(self) -> Health:
        return self._upstream.health()

    async def count_tokens(self, request: Prompt) -> int:
        """As the server counts."""
        body = await self._written(counting_body_of, request)
        async with self._upstream.post(
            self._path("/v1/messages/count_tokens"),
            body,
            headers=_headers(request),
            affinity=partial(heads_of, request),
        ) as reply:
            found = await reply.json()
            count = found.get("input_tokens") if isinstance(found, dict) else None
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise reply.fault("malformed_json", "it has no `input_tokens`")
            return count

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The answer. It is streamed where the caller's is, and where it may be long.

        A short one is asked for whole where nobody waits for its parts. What is cut before its
        count came is metered by what was said of it.
        """
        if not self._known and self._upstream.health().ready:
            await self._learn()
        if self.handing is not None and attempt.item is not None:
            events = self._handed(self.handing, attempt.item, request, attempt)
        else:
            events = self._asked(request, attempt)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _handed(
        self, handing: Handing, item: tuple[str, int], request: MessagesRequest, attempt: Attempt
    ) -> AsyncGenerator[Event]:
        """The answer by a batch there; by itself, where that is refused."""
        body = await self._written(body_of, request)
        async with handing.asked(item, body, betas_for(request)) as one:
            if await one.handed:
                yield Ping()  # there is somebody; all else comes when the batch has ended
                line = await one.line
                try:
                    events = self._events_of(line, attempt)
                except RengaError as error:
                    if error.status >= 500:  # else it would be so again, and is its result
                        await handing.forget(one)
                    raise
                for event in events:
                    yield event
                return
        async with self._answering, aclosing(self._asked(request, attempt)) as answer:
            async for event in answer:
                yield event

    def _events_of(self, line: Line, attempt: Attempt) -> list[Event]:
        """The answer in a line of a batch's results. Raises the error that it is instead."""
        match line.result:
            case {"type": "succeeded", "message": message}:
                return list(events_of_message(message, Answer(self.name, attempt), line))
            case {"type": "errored", "error": {"error": _} as error}:
                raise error_of(error, self.name)
            case _:
                raise error_of_end(line)

    async def _asked(self, request: MessagesRequest, attempt: Attempt) -> AsyncGenerator[Event]:
        """The answer by itself."""
        if not request.stream and request.max_tokens > WHOLE_TOKENS:
            request = request.model_copy(update={"stream": True})
        answer = Answer(self.name, attempt)
        async with self._upstream.post(
            self._path("/v1/messages"),
            await self._written(body_of, request),
            headers=_headers(request),
            affinity=partial(heads_of, request),
            trace=attempt.trace,
        ) as reply:
            _log.debug(
                "%s: backend '%s' answers as %s at %s",
                attempt.request_id,
                self.name,
                reply.headers.get("request-id"),
                reply.replica,
            )
            if not request.stream:
                for event in events_of_message(await reply.json(), answer, reply):
                    yield event
                return
            async with aclosing(reply.events()) as told:  # type: ignore[type-var]
                async for name, data in told:
                    for event in answer.see(name, data, reply):
                        yield event
                    if answer.over:
                        return  # whether or not the server ends the stream behind its last event
            for event in answer.end(reply):
                yield event

    async def complaint(self) -> RengaError | None:
        """What the server has against a request for the model, as far as its list tells."""
        try:
            await self._ask_for_model()
        except RengaError as error:
            return error
        return None

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """The API has no such question."""
        raise refuse(self.name, "continuations", request)

    async def _written(self, write: Callable[[Asked, str, str], bytes], request: Asked) -> bytes:
        """The body that `write` makes; beside the event loop where that may take long."""
        if is_longer(request, IN_LOOP, PER_BLOCK):
            return await asyncio.to_thread(write, request, self._config.model, self.name)
        return write(request, self._config.model, self.name)

    async def _learn(self) -> None:
        """What the server says of the model. One that says nothing is taken as it is."""
        self._known = True
        try:
            found = await self._ask_for_model()
        except RengaError as error:
            _log.info("backend '%s' does not list its model: %s", self.name, error.message)
            return
        self._capabilities = capabilities_of(found, self._config)

    async def _ask_for_model(self) -> Any:
        path = self._path(f"/v1/models/{quote(self._config.model, safe='')}")
        return await self._upstream.get(path, deadline=LOOK_SECONDS)

    def _path(self, path: str) -> str:
        """`path` behind a configured URL, which may end in `/v1` as those of other APIs do."""
        versioned = all(url.rstrip("/").endswith("/v1") for url in self._config.urls)
        return path.removeprefix("/v1") if versioned else path


def headers_of(config: BackendConfig) -> dict[str, str]:
    """What goes with every request. The key is sent in the way that all such servers know.

    Those that accept any key still want to be shown one.
    """
    return {
        "anthropic-version": VERSION,
        "content-type": "application/json",
        "x-api-key": config.api_key or "none",
    }


def _headers(request: Prompt) -> Mapping[str, str] | None:
    betas = betas_for(request)
    return {"anthropic-beta": ",".join(betas)} if betas else None


__all__ = ["MessagesBackend", "headers_of"]
