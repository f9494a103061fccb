"""The `openai` backend: a model behind any server of OpenAI's chat API.

Owns four rules: which server it is is told by the configuration, or by what the server says of its
models, and learned again once one that was down is back; a prompt that surely does not fit is
refused here, and one that its server finds too long is refused in our words; an answer is asked for
as its caller wants it, whole where it is short; and leaving early ends the work over there. What is
said is `requests`', what is understood `answering`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from renga.backends.base import Attempt, Capabilities, Health, Ignorable, refuse
from renga.backends.openai.answering import Answering, terms_of
from renga.backends.openai.chunks import Chunk, read_chunk, read_whole
from renga.backends.openai.quirks import (
    AUTO,
    QUIRKS,
    Quirks,
    check_settings,
    entries,
    entry_of,
    known_by,
    sees,
    window_of,
)
from renga.backends.openai.requests import Form, Json, body_of, count_body_of, is_single
from renga.backends.remote import Cause, Reply, Upstream
from renga.backends.remote.affinity import heads_of
from renga.chat.demand import EFFORTS, wants_thinking
from renga.config import BackendConfig
from renga.errors import BackendFailed, InvalidRequest, RengaError
from renga.events import Event
from renga.ids import Ids, make_ids
from renga.machine import Machine
from renga.media.placing import Placed, placed
from renga.reading import is_longer
from renga.toolkit import specs_of
from renga.types import MAX_OUTPUT_TOKENS, Likelihood, MessagesRequest, Prompt, ScoreRequest

# Characters of a prompt, beyond which it is written beside the event loop, and what a block weighs.
IN_LOOP: Final = 131_072
PER_BLOCK: Final = 64

# Answers up to so many tokens are asked for whole, where their callers want them whole: they are
# there before a server that is silent meanwhile would be given up.
WHOLE_TOKENS: Final = 4_096

# Bytes of a body for each token, as it is estimated: most texts have four and more.
BYTES_PER_TOKEN: Final = 3
IMAGE_TOKENS: Final = 1_600  # the most that the API counts for one
LEAST_ROOM: Final = 1_024  # tokens of answer that are asked for where an estimate leaves none

LEARN_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 2.0  # between looks at a server that could not be asked what it is

_DONE: Final = b"[DONE]"
_TOO_LONG: Final = re.compile(
    r"context[_ ](?:length|size|window)|prompt is too long|input .{0,40}(?:too long|longer than)"
    r"|too many (?:input )?tokens|exceed_context_size",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Known:
    """What is known of the server. `sure`: it was asked, or need not be."""

    name: str
    quirks: Quirks
    form: Form
    capabilities: Capabilities
    sure: bool


class OpenaiBackend:
    """See the module. It is started without its server, and finds it once that is there."""

    kind = "openai"

    def __init__(
        self,
        config: BackendConfig,
        *,
        home: Path | None = None,
        machine: Machine | None = None,
        ids: Ids | None = None,
        upstream: Upstream | None = None,
    ) -> None:
        check_settings(config.quirks, config.has, config.lacks, f"backend '{config.name}'")
        self.name = config.name
        self.open_streams = 0
        self._config = config
        self._ids = ids or make_ids()
        headers = {"content-type": "application/json"}
        if config.api_key:
            headers["authorization"] = f"Bearer {config.api_key}"
        self._upstream = upstream or Upstream(config, headers=headers, probe="/models")
        self._known = self._knowing(None, sure=False)
        self._learning: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> Capabilities:
        return self._known.capabilities

    async def start(self) -> None:
        """Connect, and ask what is there. A server that is down is asked again until it says."""
        await self._upstream.start()
        if not await self._learn() and self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(self._keep_learning())

    async def aclose(self) -> None:
        """End what goes on and close the connections. Idempotent."""
        learning, self._learning = self._learning, None
        if learning is not None:
            learning.cancel()
            with suppress(asyncio.CancelledError):
                await learning
        await self._upstream.aclose()

    def health(self) -> Health:
        found, known = self._upstream.health(), self._known
        about = QUIRKS[known.name].about if known.sure else "not known yet"
        return Health(found.state, f"{found.words} ({about}), window {known.capabilities.window:,}")

    async def count_tokens(self, request: Prompt) -> int:
        """Counted by the server where it has a route for that, else estimated, rather high."""
        read = await placed(request)
        _, body = await self._written(request, lambda: count_body_of(read, self._known.form))
        return await self._count(read, body)

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The server's answer."""
        known, read = self._known, await placed(request)
        most = max(1, min(request.max_tokens, known.capabilities.max_output))
        whole = self._is_whole(request, most)
        asked, body = await self._written(
            request, lambda: body_of(read, known.form, most=most, stream=not whole)
        )
        size = estimate(body, read)
        if size + most > known.capabilities.window:
            size, room = await self._room(request, size)
            asked[known.quirks.limit] = min(most, room)
            body = msgspec.json.encode(asked)
        answering = self._answering(request, attempt, size)
        self.open_streams += 1
        try:
            async with self._upstream.post(
                "/chat/completions",
                body,
                headers=self._said(),
                affinity=lambda: heads_of(request),
                trace=attempt.trace,
            ) as reply:
                held: list[Event] = []  # what came in one piece is shown when its end was seen
                async with aclosing(self._chunks(reply, whole=whole)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        for event in answering.see(chunk):
                            if whole:
                                held.append(event)
                            else:
                                yield event
                        if answering.over:
                            reply.leave()
                            break
                for event in (*held, *answering.end()):
                    yield event
        except InvalidRequest as error:
            raise _in_our_words(error) from error
        finally:
            self.open_streams -= 1

    async def complaint(self) -> RengaError | None:
        """What the server has against requests for the model, as far as its list tells."""
        try:
            models = await self._upstream.get("/models", deadline=LEARN_SECONDS)
        except RengaError as error:
            return error
        model, listed = self._config.model, entries(models)
        names = [str(entry.get("id")) for entry in listed]
        known = any(name == model or name.startswith(f"{model}:") for name in names)
        if known or not names or self._known.name == "renga":  # which knows more than it lists
            return None
        return BackendFailed(
            f"backend '{self.name}' lists no model '{model}'; it has: {', '.join(names[:10])}"
        )

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """Their chat API tells no likelihoods of what it did not write."""
        raise refuse(self.name, "continuations", request)

    # --- asking -----------------------------------------------------------------------------------

    async def _written(self, request: Prompt, make: Callable[[], Json]) -> tuple[Json, bytes]:
        """The body that `make` makes, as bytes too; beside the loop where that may be long."""

        def write() -> tuple[Json, bytes]:
            body = make()
            return body, msgspec.json.encode(body)

        if is_longer(request, IN_LOOP, PER_BLOCK):
            return await asyncio.to_thread(write)
        return write()

    def _said(self) -> dict[str, str] | None:
        """What a request says of its connection."""
        return {"connection": "close"} if self._known.quirks.closes else None

    def _is_whole(self, request: MessagesRequest, most: int) -> bool:
        """Whether the answer is asked for in one piece."""
        if request.stream or most > WHOLE_TOKENS:
            return False
        return self._known.quirks.stop == "told" or not request.stop_sequences

    async def _room(self, request: MessagesRequest, estimated: int) -> tuple[int, int]:
        """Tokens of the prompt, and of room for an answer, near the window.

        Raises InvalidRequest where there is surely none.
        """
        able = self._known.capabilities
        exact = able.counts == "exact"
        size = await self.count_tokens(request) if exact else estimated
        if size >= able.window and (exact or size > 2 * able.window):
            raise InvalidRequest(f"prompt is too long: {size} tokens > {able.window - 1} maximum")
        room = able.window - size
        return size, room if exact else max(room, LEAST_ROOM)

    async def _count(self, read: Placed[Any], body: bytes) -> int:
        """Tokens of the prompt in `body`."""
        route = _ROUTES.get(self._known.quirks.count)
        if route is None:
            return estimate(body, read)
        path, field = route
        async with self._upstream.post(path, body, headers=self._said()) as reply:
            said = await reply.json()
            size = said.get(field) if isinstance(said, dict) else None
            if type(size) is not int or size < 0:
                raise reply.fault("malformed_json", f"no `{field}` at {path}")
            return size

    async def _chunks(self, reply: Reply, *, whole: bool) -> AsyncIterator[Chunk]:
        """What the server says, up to where it says that it is done. Raises faults."""
        if whole:
            try:
                yield read_whole(await reply.json())
            except ValueError as error:
                raise reply.fault("malformed_json", str(error)) from error
            return
        async with aclosing(reply.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.data == _DONE:
                    return
                try:
                    chunk = read_chunk(event.data)
                except ValueError as error:
                    shape = isinstance(error, msgspec.ValidationError)
                    cause: Cause = "malformed_sse" if shape else "malformed_json"
                    raise reply.fault(cause, str(error)) from error
                yield chunk

    def _answering(self, request: MessagesRequest, attempt: Attempt, estimated: int) -> Answering:
        known = self._known
        terms = terms_of(
            request,
            backend=self.name,
            window=known.capabilities.window,
            estimate=estimated,
            stops=tuple(request.stop_sequences) if known.quirks.stop == "ours" else (),
            thinks=wants_thinking(request),
            single=is_single(request),
            toolsets={spec.name: spec.toolset for spec in specs_of(request) if spec.toolset},
        )
        return Answering(terms, attempt, self._ids, lambda: datetime.now(UTC))

    # --- learning ---------------------------------------------------------------------------------

    async def _keep_learning(self) -> None:
        learned = False
        while not learned:
            await asyncio.sleep(AGAIN_SECONDS)
            learned = await self._learn()

    async def _learn(self) -> bool:
        """Ask the server which models it has; False where it could not be asked."""
        try:
            models = await self._upstream.get("/models", deadline=LEARN_SECONDS)
        except RengaError as error:
            # One that answers has no such route, or does not show it; one that is silent is down.
            answered = (error.cause or "").startswith(("status_4", "wrong_", "malformed_"))
            if not answered:
                return False
            models = None
        self._known = self._knowing(models, sure=True)
        return True

    def _knowing(self, models: Any, *, sure: bool) -> Known:
        config = self._config
        name = config.quirks
        if name == AUTO:
            name = known_by(config.urls, models) or "generic"
        quirks, entry = QUIRKS[name], entry_of(models, config.model)
        able = capabilities(config, quirks, entry)
        thinks = able.thinking != {"disabled"}
        fixed = is_fixed(config.model, quirks)
        return Known(name, quirks, Form(config.model, quirks, thinks, fixed), able, sure)


_ROUTES: Final = {
    # vLLM has it beside the API, not in it.
    "tokenize": ("/../tokenize", "count"),
    "input_tokens": ("/chat/completions/input_tokens", "input_tokens"),
}


def capabilities(config: BackendConfig, quirks: Quirks, entry: dict[str, Any]) -> Capabilities:
    """What the model can do: by its server's row, what the server says, and the configuration."""
    told = {
        "documents": True,
        "images": sees(entry) or bool(quirks.host and "openai" in quirks.host),
        "logprobs": quirks.logprobs,
        "prefill": bool(quirks.prefill),
        "structured_output": True,
        "thinking": quirks.thinking != "none"
        and (not quirks.fixed or is_fixed(config.model, quirks)),
        "tools": True,
    }
    has = {**told, **dict.fromkeys(config.has, True), **dict.fromkeys(config.lacks, False)}
    window = config.window or window_of(entry) or quirks.window
    types = ("enabled", "adaptive", "disabled") if has["thinking"] else ("disabled",)
    return Capabilities(
        window=window,
        max_output=config.max_output or min(window, MAX_OUTPUT_TOKENS),
        structured_output=has["structured_output"],
        logprobs=has["logprobs"],
        tools=has["tools"],
        thinking=frozenset(types),
        efforts=frozenset(EFFORTS) if has["thinking"] else frozenset(),
        images=has["images"],
        documents=has["documents"],
        forms=frozenset(quirks.forms),
        forced_calls=quirks.forced_calls,
        prefill=has["prefill"],
        ignores=_ignores(config.model, quirks, thinks=has["thinking"]),
        counts="estimated" if quirks.count == "estimate" else "exact",
    )


def _ignores(model: str, quirks: Quirks, *, thinks: bool) -> frozenset[Ignorable]:
    ignored: list[Ignorable] = []
    if not quirks.top_k:
        ignored.append("top_k")
    if thinks and quirks.thinking != "openrouter":
        ignored.append("thinking.budget_tokens")
    if is_fixed(model, quirks):
        ignored += ["temperature", "top_p"]
    return frozenset(ignored)


def is_fixed(model: str, quirks: Quirks) -> bool:
    """Whether the model draws its tokens in its own way alone."""
    return bool(quirks.fixed) and re.fullmatch(quirks.fixed, model) is not None


def estimate(body: bytes, read: Placed[Any]) -> int:
    """Tokens of the prompt in a body, rather too many: JSON has more bytes than its texts."""
    images = sum(len(image.data) for image in read.images)
    return (len(body) - images) // BYTES_PER_TOKEN + 1 + IMAGE_TOKENS * len(read.images)


def _in_our_words(error: InvalidRequest) -> InvalidRequest:
    """A refusal for length as the API words it, which clients act on; others as they are."""
    if error.message.startswith("prompt is too long") or not _TOO_LONG.search(error.message):
        return error
    return InvalidRequest(f"prompt is too long: {error.message}", cause=error.cause)
