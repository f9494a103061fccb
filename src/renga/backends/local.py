"""A model that renga runs itself: prompts into tokens, the engine's messages into events.

Owns four rules: a prompt is counted and checked against the window before the engine sees it, and
never cut; what the engine counted is what is charged, also when the caller leaves; a prefix shorter
than the minimum is not cached, in silence, as the API has it; and where a caller asks for no
sampling, the model's own way rules (decision 0004). It knows no scheduling and no tiers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgspec.structs import asdict, replace

from renga import caching
from renga.backends.base import Attempt, Capabilities, Health
from renga.backends.steps import traced
from renga.backends.telling import not_running, telling
from renga.chat.calling import ToolGrammars
from renga.chat.demand import EFFORTS, Demand, demand_of, opened_by, prompt_of, thinking_of
from renga.chat.render import ChatTemplate
from renga.chat.schema import grammar_of
from renga.chat.writing import Writer
from renga.config import BackendConfig
from renga.conversation import is_prefilled
from renga.engine.client import EngineClient, EngineStartError
from renga.engine.memory import engine_settings, megabytes, plan_memory
from renga.engine.messages import (
    Breakpoint,
    EngineSettings,
    Finished,
    Lane,
    Mark,
    Output,
    Reason,
    Score,
    Started,
    Submit,
    Thinking,
)
from renga.engine.text import Vocabulary
from renga.errors import BackendFailed, InvalidRequest, SetupError
from renga.events import (
    Candidate,
    DeltaUsage,
    Ending,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    TokenLogprob,
)
from renga.ids import Ids, make_ids
from renga.machine import Machine
from renga.models.find import ModelFolder, Sampling, check_tokenizer, prepare_model
from renga.reading import is_longer
from renga.types import (
    MAX_OUTPUT_TOKENS,
    CacheCreation,
    Likelihood,
    Message,
    MessagesRequest,
    OutputDetails,
    Prompt,
    ScoreRequest,
    StopReason,
    TunedRequest,
    Usage,
)

# Characters of a prompt, beyond which it is made into tokens beside the event loop: up to here it
# takes about as long as a switch to a thread and a few events of other streams.
IN_LOOP = 8_192
PER_MESSAGE = 64  # what the template's work on a block or a tool weighs, in the same measure

# The smallest share of probability that leaves the likeliest token; the API's top_p may be 0.
LEAST_TOP_P = 1e-9

REASONS: dict[Reason, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "window": "model_context_window_exceeded",
}


@dataclass(frozen=True)
class Read:
    """A request as the engine takes it. `cache` are its breakpoints, in order."""

    tokens: list[int]
    demand: Demand
    thinking: Thinking | None
    cache: list[Breakpoint]


class LocalBackend:
    """See the module. `engine` and `model` are there from `start` to `aclose`."""

    kind = "local"

    def __init__(
        self,
        config: BackendConfig,
        *,
        home: Path,
        machine: Machine | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.name = config.name
        self.open_streams = 0
        self.engine: EngineClient | None = None
        self.model: ModelFolder | None = None
        self._config = config
        self._home = home
        self._machine = machine or Machine()
        self._ids = ids or make_ids()
        self._template: ChatTemplate | None = None
        self._vocabulary: Vocabulary | None = None
        self._grammars = ToolGrammars()
        self._numbers = itertools.count(1)

    @property
    def capabilities(self) -> Capabilities:
        forms = self._loaded_template().forms
        thinks = forms.thought is not None
        return Capabilities(
            window=self._running().facts.window,
            max_output=MAX_OUTPUT_TOKENS,
            structured_output=True,
            prompt_caching=True,
            scoring=True,
            logprobs=True,
            tools=forms.call is not None,
            documents=True,
            thinking=frozenset(("enabled", "adaptive", "disabled") if thinks else ("disabled",)),
            efforts=frozenset(EFFORTS) if thinks else frozenset(),
        )

    async def start(self) -> None:
        """Check the model's folder, then load it. Raises SetupError."""
        self._machine.expect(self.name)
        try:
            model = await asyncio.to_thread(prepare_model, self._config.model, self._home)
            engine_settings(self._config, model)
            template = await asyncio.to_thread(ChatTemplate.load, model.path)
            check_tokenizer(template.tokenizer.size, model)
            self.engine = await EngineClient.start(self._settings(model, template))
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
        try:
            if engine is not None:
                await engine.aclose()
        finally:
            self._machine.release(self.name)

    def figures(self) -> Mapping[str, float]:
        stats = None if self.engine is None else self.engine.stats()
        return {} if stats is None else asdict(stats)

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
        self._running()
        if request.output_config is None and not is_longer(request, IN_LOOP, PER_MESSAGE):
            return self._size(request)
        return await asyncio.to_thread(self._size, request)

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The model's answer."""
        engine = self._running()
        read = await self._prepare(request)
        submit = self._submit(request, attempt, read)
        pieces = await self._pieces() if submit.logprobs is not None else None
        answer = Answer(self.name, self._ids, read.demand, pieces)
        with self._asking(), traced(attempt.trace, partial(count_in, attempt)) as meter:
            async with aclosing(engine.generate(submit, meter)) as messages:
                async for message in messages:
                    for event in answer.events(message):
                        yield event

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """How likely each continuation is; all of their tokens are input, once they are known."""
        engine = self._running()
        score = await asyncio.to_thread(self._score, request, attempt)
        with self._asking(), traced(attempt.trace, partial(count_in, attempt)) as meter:
            scored, last = await engine.score(score, meter)
        if scored is None:
            raise BackendFailed(f"backend '{self.name}': {last.error or last.reason}")
        attempt.input = last.prompt_tokens + sum(map(len, score.continuations))
        attempt.reused = last.reused_tokens
        return [Likelihood(logprob=sum(one), tokens=len(one)) for one in scored.logprobs]

    def _score(self, request: ScoreRequest, attempt: Attempt) -> Score:
        """What the engine is given of `request`. Raises InvalidRequest where it does not fit."""
        template = self._loaded_template()
        tokens = template.tokens(request)
        tails = [
            template.continuation(text, f"continuations.{i}")
            for i, text in enumerate(request.continuations)
        ]
        window = self._running().facts.window
        longest = max(range(len(tails)), key=lambda i: len(tails[i]))
        if len(tokens) >= window:
            raise self._too_long(len(tokens))
        if len(tokens) + len(tails[longest]) > window:
            raise InvalidRequest(
                f"continuations.{longest}: {len(tails[longest])} tokens behind the prompt's "
                f"{len(tokens)} > {window} maximum"
            )
        return Score(
            id=self._next_id(attempt),
            salt=attempt.workspace,
            prompt=tokens,
            continuations=tails,
            choice=request.choice,
            lane=lane_of(attempt),
        )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """One request to the engine; what goes wrong there, as a caller is told it."""
        self.open_streams += 1
        try:
            with telling(self.name, "the engine process", lambda: self.engine is not None):
                yield
        finally:
            self.open_streams -= 1

    def _size(self, request: Prompt) -> int:
        """Tokens of the prompt. What no answer could follow is refused; for calls none is made."""
        grammar_of(request)
        tokens, _ = self._rendered(request, self._loaded_template())
        return len(tokens)

    async def _prepare(self, request: Prompt) -> Read:
        """What the engine is given of `request`; made beside the event loop if that may be long."""
        window = self._running().facts.window
        if request.output_config is None and not is_longer(request, IN_LOOP, PER_MESSAGE):
            return self._read(request, window)
        return await asyncio.to_thread(self._read, request, window)

    def _read(self, request: Prompt, window: int) -> Read:
        """Raises InvalidRequest: what does not fit is refused before a grammar is made for it."""
        template = self._loaded_template()
        tokens, cache = self._rendered(request, template)
        if len(tokens) >= window:
            raise self._too_long(len(tokens))
        demand = demand_of(request, template, self._grammars)
        return Read(tokens, demand, thinking_of(tokens, demand, template, window), cache)

    def _rendered(
        self, request: Prompt, template: ChatTemplate
    ) -> tuple[list[int], list[Breakpoint]]:
        """The prompt's tokens, and its breakpoints."""
        plain = prompt_of(request, template)
        cache: list[Breakpoint] = []
        if isinstance(request, MessagesRequest) and caching.is_marked(request):
            least = self._config.cache_minimum_tokens
            tokens, cache = read_with_breakpoints(template, plain.prompt, least)
        else:
            tokens = template.tokens(plain.prompt)
        return opened_by(tokens, plain, template), cache

    def _submit(self, request: MessagesRequest, attempt: Attempt, read: Read) -> Submit:
        assert self.model is not None, "the model is there while the engine runs"
        drawn = sampling_of(request, self.model.sampling)
        tuned = request if isinstance(request, TunedRequest) else None
        return Submit(
            id=self._next_id(attempt),
            salt=attempt.workspace,
            prompt=read.tokens,
            max_tokens=request.max_tokens,
            temperature=drawn.temperature,
            top_p=max(drawn.top_p, LEAST_TOP_P),
            top_k=drawn.top_k,
            min_p=drawn.min_p,
            seed=tuned.seed if tuned else None,
            stop=list(read.demand.stop),
            grammar=read.demand.grammar,
            trigger=read.demand.trigger,
            quiet=read.demand.quiet,
            digits=read.demand.digits,
            shown=list(read.demand.shown),
            thinking=read.thinking,
            cache=read.cache,
            logprobs=tuned.logprobs if tuned else None,
            lane=lane_of(attempt),
        )

    def _settings(self, model: ModelFolder, template: ChatTemplate) -> EngineSettings:
        """The engine's settings, with its share of the machine, which it keeps till it is closed.

        Raises SetupError where there is not enough of it.
        """
        settings, plan = plan_memory(self._config, model, self._machine.free(self.name))
        self._machine.promise(self.name, plan.total)
        threads = settings.threads or self._machine.threads(self.name)
        return replace(settings, threads=threads, end_ids=template.end_ids)

    async def _pieces(self) -> Vocabulary:
        """The bytes of every token, read when they are first asked for."""
        assert self.model is not None, "the model is there while the engine runs"
        if self._vocabulary is None:
            file = self.model.path / "tokenizer.json"
            self._vocabulary = await asyncio.to_thread(Vocabulary.load, file)
        return self._vocabulary

    def _next_id(self, attempt: Attempt) -> str:
        return f"{attempt.request_id}.{next(self._numbers)}"

    def _too_long(self, size: int) -> InvalidRequest:
        most = self._running().facts.window - 1
        return InvalidRequest(f"prompt is too long: {size} tokens > {most} maximum")

    def _running(self) -> EngineClient:
        if self.engine is None:
            raise not_running(self.name)
        return self.engine

    def _loaded_template(self) -> ChatTemplate:
        """To be asked for once: in a thread, it may be gone the next time."""
        template = self._template
        if template is None:
            raise not_running(self.name)
        return template


def lane_of(attempt: Attempt) -> Lane:
    """The queue that an attempt waits in."""
    return "batch" if attempt.service == "batch" else "interactive"


class Answer:
    """One answer of an engine as events. `pieces` are there where likelihoods were asked for."""

    def __init__(self, backend: str, ids: Ids, demand: Demand, pieces: Vocabulary | None) -> None:
        self._backend = backend
        self._demand = demand
        self._thinks = demand.thinks
        self._pieces = pieces
        begun = is_prefilled(demand.prompt)
        self._writer = Writer(ids, demand.form, demand.toolsets, tools=demand.tools, begun=begun)
        self._usage = Usage(input_tokens=0, output_tokens=0)

    def events(self, message: Started | Output | Finished) -> Iterator[Event]:
        """What one message of the engine amounts to."""
        match message:
            case Started():
                self._usage = usage_of(message)
                start = Message(id="", model="", content=[], usage=self._usage)
                yield MessageStart(message=start)
            case Output(thinking=True):
                if self._thinks:
                    yield from self._writer.thinking(message.text)
            case Output():
                yield from self._writer.text(message.text, self._logprobs(message))
            case Finished():
                yield from self._end(message)

    def _logprobs(self, output: Output) -> tuple[TokenLogprob, ...] | None:
        if self._pieces is None or output.logprobs is None:
            return None
        pieces = self._pieces
        return tuple(
            TokenLogprob(
                data=pieces.piece(token),
                logprob=likely.logprob,
                top=tuple(
                    Candidate(data=pieces.piece(other), logprob=logprob)
                    for other, logprob in likely.top
                ),
            )
            for token, likely in zip(output.tokens, output.logprobs, strict=True)
            if token not in pieces.special
        )

    def _end(self, last: Finished) -> Iterator[Event]:
        if last.reason == "grammar":
            raise InvalidRequest(f"{self._demand.blamed}: {last.error}")
        reason = REASONS.get(last.reason)
        if reason is None:
            raise BackendFailed(f"backend '{self._backend}': {last.error or last.reason}")
        yield from self._writer.finish(reason)
        thinking = OutputDetails(thinking_tokens=last.thinking_tokens) if self._thinks else None
        yield MessageDelta(
            delta=Ending(stop_reason=self._writer.reason(reason), stop_sequence=last.stop_sequence),
            usage=DeltaUsage(
                input_tokens=self._usage.input_tokens,
                cache_creation_input_tokens=self._usage.cache_creation_input_tokens,
                cache_read_input_tokens=self._usage.cache_read_input_tokens,
                output_tokens=last.output_tokens,
                output_tokens_details=thinking,
            ),
        )
        yield MessageStop()


def usage_of(started: Started) -> Usage:
    """The prompt by the API's classes: they are disjoint and add up to it."""
    read = started.cache_read_tokens
    short, long = started.cache_write_5m_tokens, started.cache_write_1h_tokens
    rest = started.prompt_tokens - read - short - long
    assert min(rest, read, short, long) >= 0, f"the engine's counts do not add up: {started}"
    return Usage(
        input_tokens=rest,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=short + long,
        cache_creation=CacheCreation(
            ephemeral_5m_input_tokens=short, ephemeral_1h_input_tokens=long
        ),
        output_tokens=0,
    )


def read_with_breakpoints(
    template: ChatTemplate, request: Prompt, least: int
) -> tuple[list[int], list[Breakpoint]]:
    """The prompt's tokens, and its breakpoints that lie at `least` tokens or beyond."""
    turns = template.read(request)
    found = caching.positions(request, turns)
    marked = caching.breakpoints(request, turns, found)
    wanted = sorted({at for mark in marked for at in mark.looks_at})
    measured = template.measure(request, turns, [found[at] for at in wanted])
    lengths = dict(zip(wanted, measured.lengths, strict=True))
    cache = [
        Breakpoint(
            ttl_seconds=caching.TTL_SECONDS[mark.ttl],
            marks=[
                Mark(key=found[at].key, tokens=lengths[at])
                for at in mark.looks_at
                if lengths[at] >= least
            ],
        )
        for mark in marked
        if lengths[mark.at] >= least
    ]
    return measured.tokens, cache


def count_in(attempt: Attempt, message: Started | Output | Finished) -> None:
    """Fill the attempt's meter as the engine works, whether or not its caller reads along."""
    match message:
        case Started():
            usage = usage_of(message)
            attempt.input = usage.input_tokens
            attempt.cache_read = usage.cache_read_input_tokens
            attempt.cache_write_5m = usage.cache_creation.ephemeral_5m_input_tokens
            attempt.cache_write_1h = usage.cache_creation.ephemeral_1h_input_tokens
            # What was reused beyond the entry may lie under a new one, which is charged as that.
            beyond = message.reused_tokens - message.cache_read_tokens
            attempt.reused = min(beyond, usage.input_tokens)
        case Output():
            attempt.output += len(message.tokens)
            attempt.thinking += len(message.tokens) if message.thinking else 0
        case Finished():
            attempt.output = message.output_tokens
            attempt.thinking = message.thinking_tokens


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
