"""A model that renga runs itself: prompts into tokens, the engine's messages into events.

Owns three rules: a prompt is counted and checked against the window before the engine sees it, and
never cut; what the engine counted is what is charged, also when the caller leaves; and where a
caller asks for no sampling, the model's own way rules (decision 0004). It knows no scheduling and
no tiers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from renga.backends.base import Attempt, Capabilities, Health
from renga.chat.render import ChatTemplate, is_prefilled
from renga.chat.schema import FIELD, grammar_of
from renga.config import BackendConfig
from renga.engine.client import EngineClient, EngineDied, EngineOverloaded, EngineStartError
from renga.engine.memory import engine_settings, megabytes, plan_memory
from renga.engine.messages import (
    EngineSettings,
    Finished,
    Output,
    Reason,
    Started,
    Submit,
)
from renga.errors import BackendFailed, InvalidRequest, Overloaded, SetupError, Unavailable
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    Ending,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextDelta,
)
from renga.machine import Machine
from renga.models.find import ModelFolder, Sampling, find_model
from renga.types import (
    MAX_OUTPUT_TOKENS,
    Message,
    MessagesRequest,
    Prompt,
    StopReason,
    TextBlock,
    Usage,
)

# Characters of a prompt, beyond which it is made into tokens beside the event loop: up to here it
# takes about as long as a switch to a thread and a few events of other streams.
IN_LOOP = 8_192
PER_MESSAGE = 64  # what the template's work on one message weighs, in the same measure

# The smallest share of probability that leaves the likeliest token; the API's top_p may be 0.
LEAST_TOP_P = 1e-9

REASONS: dict[Reason, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "window": "model_context_window_exceeded",
}


class LocalBackend:
    """See the module. `engine` and `model` are there from `start` to `aclose`."""

    kind = "local"

    def __init__(
        self, config: BackendConfig, *, home: Path, machine: Machine | None = None
    ) -> None:
        self.name = config.name
        self.open_streams = 0
        self.engine: EngineClient | None = None
        self.model: ModelFolder | None = None
        self._config = config
        self._home = home
        self._machine = machine or Machine()
        self._template: ChatTemplate | None = None
        self._numbers = itertools.count(1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            window=self._running().facts.window,
            max_output=MAX_OUTPUT_TOKENS,
            structured_output=True,
        )

    async def start(self) -> None:
        """Check the model's folder, then load it. Raises SetupError."""
        self._machine.expect(self.name)
        try:
            model = find_model(self._config.model, self._home)
            engine_settings(self._config, model)
            template = await asyncio.to_thread(ChatTemplate.load, model.path)
            _check_tokenizer(template.tokenizer.size, model)
            self.engine = await EngineClient.start(self._settings(model))
        except EngineStartError as error:
            self._machine.release(self.name)
            raise SetupError(
                f"backend '{self.name}': model '{model.name}' cannot be loaded: {error}",
                "`renga doctor` checks what it needs",
            ) from error
        except BaseException:
            self._machine.release(self.name)
            raise
        self.model, self._template = model, template

    async def aclose(self) -> None:
        """End the engine's process. Idempotent."""
        engine, self.engine, self._template = self.engine, None, None
        if engine is not None:
            await engine.aclose()
        self._machine.release(self.name)

    def health(self) -> Health:
        if self.engine is None or self.model is None:
            return Health("unloaded", "stopped")
        facts, model = self.engine.facts, self.model
        threads = f"{facts.threads} thread" + ("s" if facts.threads != 1 else "")
        size = f"{short_count(model.parameters)} parameters, {model.precision}"
        context = f"{megabytes(facts.kv_bytes)} for {facts.blocks * facts.block_size:,} tokens"
        words = f"{size}, window {facts.window:,}, {context}"
        exact = ", exact arithmetic" if facts.precision == "exact" else ""
        if not self.engine.alive:
            return Health("restarting", f"{words}; the engine is being started again")
        return Health("ready", f"{words}, {threads}{exact}")

    async def count_tokens(self, request: Prompt) -> int:
        tokens, _ = await self._prepare(request)
        return len(tokens)

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The model's answer."""
        engine = self._running()
        tokens, grammar = await self._prepare(request)
        window = engine.facts.window
        if len(tokens) >= window:
            raise InvalidRequest(f"prompt is too long: {len(tokens)} tokens > {window - 1} maximum")
        submit = self._submit(request, attempt, tokens, grammar)
        self.open_streams += 1
        try:
            async with aclosing(engine.generate(submit, partial(_count, attempt))) as messages:
                async for message in messages:
                    for event in self._events(message):
                        yield event
        except EngineOverloaded as error:
            raise Overloaded(
                f"backend '{self.name}': {error}", retry_after=error.retry_after
            ) from error
        except EngineDied as error:
            if self.engine is None:
                raise self._stopped() from error
            raise BackendFailed(
                f"backend '{self.name}': the engine process ended; it is being started again"
            ) from error
        finally:
            self.open_streams -= 1

    def _events(self, message: Started | Output | Finished) -> Iterator[Event]:
        """One message of the engine as events."""
        match message:
            case Started():
                usage = Usage(input_tokens=message.prompt_tokens, output_tokens=0)
                yield MessageStart(message=Message(id="", model="", content=[], usage=usage))
                yield BlockStart(index=0, content_block=TextBlock(text=""))
            case Output():
                if message.text:
                    yield BlockDelta(index=0, delta=TextDelta(text=message.text))
            case Finished():
                yield from self._end(message)

    def _end(self, last: Finished) -> Iterator[Event]:
        if last.reason == "grammar":
            raise InvalidRequest(f"{FIELD}: {last.error}")
        reason = REASONS.get(last.reason)
        if reason is None:
            raise BackendFailed(f"backend '{self.name}': {last.error or last.reason}")
        yield BlockStop(index=0)
        yield MessageDelta(
            delta=Ending(stop_reason=reason, stop_sequence=last.stop_sequence),
            usage=DeltaUsage(input_tokens=last.prompt_tokens, output_tokens=last.output_tokens),
        )
        yield MessageStop()

    async def _prepare(self, request: Prompt) -> tuple[list[int], str | None]:
        """Tokens and grammar of `request`; long ones beside the event loop."""
        blocks = [b for m in request.messages for b in m.content] + list(request.system or [])
        weight = sum(len(b.text) for b in blocks) + PER_MESSAGE * len(blocks)
        if weight <= IN_LOOP and request.output_config is None:
            return self._read(request)
        return await asyncio.to_thread(self._read, request)

    def _read(self, request: Prompt) -> tuple[list[int], str | None]:
        if self._template is None:
            raise self._stopped()
        grammar = grammar_of(request)
        if grammar is not None and is_prefilled(request):
            raise InvalidRequest(
                "output_config.format: cannot be combined with a final assistant message; "
                "leave one of them out"
            )
        return self._template.tokens(request), grammar

    def _submit(
        self, request: MessagesRequest, attempt: Attempt, tokens: list[int], grammar: str | None
    ) -> Submit:
        assert self.model is not None, "the model is there while the engine runs"
        drawn = sampling_of(request, self.model.sampling)
        return Submit(
            id=f"{attempt.request_id}.{next(self._numbers)}",
            salt=attempt.workspace,
            prompt=tokens,
            max_tokens=request.max_tokens,
            temperature=drawn.temperature,
            top_p=max(drawn.top_p, LEAST_TOP_P),
            top_k=drawn.top_k,
            min_p=drawn.min_p,
            stop=list(request.stop_sequences),
            grammar=grammar,
            lane="batch" if attempt.service == "batch" else "interactive",
        )

    def _settings(self, model: ModelFolder) -> EngineSettings:
        """The engine's settings, with its share of the machine, which it keeps till it is closed.

        Raises SetupError where there is not enough of it.
        """
        settings, plan = plan_memory(self._config, model, self._machine.free(self.name))
        self._machine.promise(self.name, plan.total)
        return replace(settings, threads=settings.threads or self._machine.threads(self.name))

    def _running(self) -> EngineClient:
        if self.engine is None:
            raise self._stopped()
        return self.engine

    def _stopped(self) -> Unavailable:
        return Unavailable(f"backend '{self.name}' is not running")


def _count(attempt: Attempt, message: Started | Output | Finished) -> None:
    """Fill the attempt's meter as the engine works, whether or not its caller reads along."""
    match message:
        case Started():
            attempt.input = message.prompt_tokens
            attempt.reused = message.reused_tokens
        case Output():
            attempt.output += len(message.tokens)
        case Finished():
            attempt.output = message.output_tokens


def _check_tokenizer(size: int, model: ModelFolder) -> None:
    """Whether tokenizer and model can be of one kind."""
    least, most = max(model.eos) + 1, model.vocab
    if not least <= size <= most:
        raise SetupError(
            f"model file {model.path / 'tokenizer.json'} has {size:,} tokens; "
            f"config.json asks for {least:,} to {most:,}",
            "the folder's files belong to different models; copy it again",
        )


def sampling_of(request: MessagesRequest, own: Sampling) -> Sampling:
    """How the answer's tokens are drawn: the model's own way, unless the caller asks for a way.

    One parameter in a request is enough to take the API's defaults for the others, so that
    what a caller wrote down means the same with every model.
    """
    if request.temperature is None and request.top_p is None and request.top_k is None:
        return own
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        top_k=request.top_k or 0,
    )


def short_count(number: int) -> str:
    """`number` to three digits: 12.5M, 1.24B."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return str(number)
