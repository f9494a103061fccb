"""The Backend protocol, what a backend can do, and one attempt on it.

Owns the rule that a backend yields the Messages events and nothing else, and counts what it
produces in the attempt as it goes, so that a caller who leaves is charged what was made. Retry,
timeouts and recording are backends that wrap a backend. It does not know tiers or HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from renga.caching import is_marked
from renga.conversation import is_prefilled
from renga.errors import InvalidRequest
from renga.events import Event
from renga.prices import LARGEST, Service, Tokens
from renga.store import Store
from renga.types import (
    AnyBlockParam,
    AnyChoice,
    AnyResultParam,
    ContentSource,
    DocumentParam,
    Effort,
    ImageParam,
    Likelihood,
    MessagesRequest,
    NamedChoice,
    Prompt,
    ScoreRequest,
    SearchResultParam,
    ServerToolUseParam,
    TextParam,
    ThinkingAdaptive,
    ThinkingEnabled,
    ToolResultParam,
    ToolSearchResultParam,
    ToolUseParam,
    TunedRequest,
)
from renga.watching.traces import NO_TRACE, Trace

ALL_FORMS: Final = frozenset({"json_schema", "json_object", "regex", "choice"})
Ignorable = Literal["seed", "temperature", "thinking.budget_tokens", "top_k", "top_p"]

_CALLS = (ToolUseParam, ToolResultParam, ServerToolUseParam, ToolSearchResultParam)


@dataclass(frozen=True)
class Capabilities:
    """What a backend can honour. `window` and `max_output` are tokens.

    `thinking` are the types it takes, `efforts` the levels between which it makes a difference.
    `images` is whether it takes images, `documents` whether it reads documents and search results,
    `pdfs` whether it reads PDFs as they are; `transcribes`, that it is told the text of images
    instead. `forms` are the types of `output_config.format` that it can be held to, where it can be
    at all; `forced_calls`, whether it can be made to call a tool; `prefill`, whether it goes on
    from a begun answer. `ignores` are fields that it takes without effect. `counts` is how it tells
    the size of a prompt.
    """

    window: int
    max_output: int
    structured_output: bool = False
    sampling: bool = True
    stop_sequences: bool = True
    prompt_caching: bool = False
    scoring: bool = False
    tools: bool = False
    thinking: frozenset[str] = frozenset({"disabled"})
    efforts: frozenset[Effort] = frozenset()
    logprobs: bool = False
    images: bool = False
    documents: bool = False
    pdfs: bool = False
    transcribes: bool = False
    forms: frozenset[str] = ALL_FORMS
    forced_calls: bool = True
    prefill: bool = True
    ignores: frozenset[Ignorable] = frozenset()
    counts: Literal["exact", "estimated"] = "exact"

    def missing_for(self, request: Prompt) -> str | None:
        """Path of the first field of `request` that this backend cannot honour, or None."""
        if isinstance(request, ScoreRequest) and not self.scoring:
            return "continuations"
        missing = self._missing_in_prompt(request) or self._missing_in_blocks(request)
        if missing is None and isinstance(request, MessagesRequest):
            if request.stop_sequences and not self.stop_sequences:
                return "stop_sequences"
            given = (request.temperature, request.top_p, request.top_k)
            if not self.sampling and any(v is not None for v in given):
                return "temperature"
            told = isinstance(request, TunedRequest) and request.logprobs is not None
            if told and not self.logprobs:
                return "logprobs"
        if missing is None and not self.prefill and is_prefilled(request):
            return f"messages.{len(request.messages) - 1}"
        return missing

    def _missing_in_prompt(self, request: Prompt) -> str | None:
        config, thinking = request.output_config, request.thinking
        wanted: dict[str, tuple[object, bool]] = {
            "output_config.format": (
                config and config.format,
                self.structured_output and _form_of(request) in self.forms,
            ),
            "output_config.effort": (
                config and config.effort,
                config is not None and config.effort in self.efforts,
            ),
            "tools": (request.tools, self.tools),
            "tool_choice": (
                isinstance(request.tool_choice, AnyChoice | NamedChoice),
                self.forced_calls,
            ),
            "thinking.type": (thinking, thinking is not None and thinking.type in self.thinking),
        }
        return next((path for path, (asked, can) in wanted.items() if asked and not can), None)

    def _missing_in_blocks(self, request: Prompt) -> str | None:
        """Thinking of an earlier answer may always be left out; nothing else may."""
        for i, message in enumerate(request.messages):
            effort = message.output_config and message.output_config.effort
            if effort and effort not in self.efforts:
                return f"messages.{i}.output_config.effort"
        if self.tools and self.images and self.documents:
            return None
        return next((path for path, block in _blocks(request) if not self._reads(block)), None)

    def _reads(self, block: AnyBlockParam | AnyResultParam) -> bool:
        """Whether a block of this type can be read at all."""
        if isinstance(block, _CALLS):
            return self.tools
        if isinstance(block, ImageParam):
            return self.images
        return self.documents or not isinstance(block, DocumentParam | SearchResultParam)

    def ignored_in(self, request: Prompt) -> tuple[str, ...]:
        """Fields of `request` that this backend accepts without effect."""
        caches = self.prompt_caching and not isinstance(request, ScoreRequest)
        config = request.output_config
        without: dict[str, bool] = {
            "cache_control": not caches and is_marked(request),
            # An effort is worth thinking, and nothing else.
            "output_config.effort": config is not None
            and config.effort is not None
            and not isinstance(request.thinking, ThinkingAdaptive),
            **{field: _asks_for(request, field) for field in sorted(self.ignores)},
        }
        return tuple(field for field, found in without.items() if found)


def _form_of(request: Prompt) -> str | None:
    config = request.output_config
    return config.format.type if config is not None and config.format is not None else None


def _asks_for(request: Prompt, field: Ignorable) -> bool:
    """Whether `request` has a value in `field`."""
    if field == "thinking.budget_tokens":
        return isinstance(request.thinking, ThinkingEnabled)
    return getattr(request, field, None) is not None


def _blocks(request: Prompt) -> Iterator[tuple[str, AnyBlockParam | AnyResultParam]]:
    """Every block of the conversation, those in results and documents too, with its path."""
    for i, message in enumerate(request.messages):
        for j, block in enumerate(message.content):
            path = f"messages.{i}.content.{j}"
            yield path, block
            for k, inner in enumerate(block.content if isinstance(block, ToolResultParam) else ()):
                yield f"{path}.content.{k}", inner
                yield from _within(f"{path}.content.{k}", inner)
            yield from _within(path, block)


def _within(
    path: str, block: AnyBlockParam | AnyResultParam
) -> Iterator[tuple[str, TextParam | ImageParam]]:
    """The blocks that a document consists of."""
    if isinstance(block, DocumentParam) and isinstance(block.source, ContentSource):
        for k, inner in enumerate(block.source.content):
            yield f"{path}.source.content.{k}", inner


@dataclass
class Attempt:
    """One try on one backend: identity for it, and the meter that it fills. Counts are tokens.

    None means not known yet, which is not 0. The first four are disjoint and add up to the prompt.
    `reused` is the part of `input` that was read from KV blocks without a cache breakpoint; it is
    billed as input. `thinking` is the part of `output` that was thinking, billed as output. `trace`
    is the attempt's span: what goes on in a backend stands below it. `estimated` says that another
    server did not tell all of its tokens, so that they were counted here. `item` is which request
    of which batch is answered, if it is one.
    """

    request_id: str
    workspace: str
    number: int = 1
    service: Service = "standard"
    input: int | None = None
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reused: int = 0
    thinking: int = 0
    trace: Trace = NO_TRACE
    estimated: bool = False
    item: tuple[str, int] | None = None

    def see(self, event: Event) -> None:
        """Take the counts that the wire's own events carry; they are the truth that is billed."""
        if event.type == "message_start":
            usage = event.message.usage
            self.input = usage.input_tokens
            self.cache_read = usage.cache_read_input_tokens
            self.cache_write_5m = usage.cache_creation.ephemeral_5m_input_tokens
            self.cache_write_1h = usage.cache_creation.ephemeral_1h_input_tokens
        elif event.type == "message_delta":
            self.output = event.usage.output_tokens
            if event.usage.output_tokens_details is not None:
                self.thinking = event.usage.output_tokens_details.thinking_tokens
            if event.usage.input_tokens is not None:
                self.input = event.usage.input_tokens
            if event.usage.cache_read_input_tokens is not None:
                self.cache_read = event.usage.cache_read_input_tokens
            if event.usage.cache_creation_input_tokens is not None:
                written = event.usage.cache_creation_input_tokens
                self.cache_write_1h = min(self.cache_write_1h, written)
                self.cache_write_5m = written - self.cache_write_1h

    def tokens(self) -> Tokens:
        """What the ledger books; an attempt that ended before its prompt was counted used none.

        Another server may have counted: what cannot be is brought to the nearest that can, for a
        row must close.
        """
        given, output = _counted(self.input or 0), _counted(self.output)
        return Tokens(
            input=given,
            cache_read=_counted(self.cache_read),
            cache_write_5m=_counted(self.cache_write_5m),
            cache_write_1h=_counted(self.cache_write_1h),
            output=output,
            reused=_counted(self.reused, given),
            thinking=_counted(self.thinking, output),
        )


def _counted(count: int, most: int = LARGEST) -> int:
    return count if 0 <= count <= most else max(0, min(count, most))


State = Literal["unloaded", "loading", "ready", "restarting", "unloading", "failed"]


@dataclass(frozen=True)
class Health:
    """How a backend is, and one line on what it is."""

    state: State
    words: str

    @property
    def ready(self) -> bool:
        """Whether it would take a request now."""
        return self.state == "ready"

    @property
    def loaded(self) -> bool:
        """Whether it would take a request, if only after a wait: it died and is on its way back."""
        return self.state in ("ready", "restarting")


class Backend(Protocol):
    """What serves a tier.

    `stream` is an async generator of events in legal order. It raises a RengaError instead of a
    message, and closing it (or cancelling its consumer) stops the work within one step. `model` and
    `id` of its message_start are placeholders: the gateway signs the message.
    """

    name: str

    @property
    def kind(self) -> str:
        """Its row in the table of backends."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can honour; valid after `start`."""

    async def start(self) -> None:
        """Make it ready. Raises SetupError when it cannot be, with the mend."""

    async def count_tokens(self, request: Prompt) -> int:
        """Size of the rendered prompt in tokens, by the same rendering as `stream`."""

    def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The answer."""

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """How likely each continuation is; only asked of a backend that can say so."""

    def health(self) -> Health:
        """Its state now, without waiting."""

    async def aclose(self) -> None:
        """Free everything. Idempotent."""


@runtime_checkable
class Measured(Protocol):
    """A backend that can say how busy it is."""

    def figures(self) -> Mapping[str, float]:
        """Numbers by name, by those of `renga.engine.messages.Stats`; none while it is not up."""


@runtime_checkable
class HandsOver(Protocol):
    """A backend that may hand requests of batches over to another server's batches."""

    def keep_handovers(self, store: Store, clock: Callable[[], float]) -> None:
        """Note in `store` what was handed over. Before `start`; `clock` is Unix seconds."""


def refuse(name: str, field_path: str, request: Prompt) -> InvalidRequest:
    """The 400 for a field of `request` that backend `name` cannot honour."""
    thinking = request.thinking.type if request.thinking is not None else ""
    if field_path == "thinking.type":
        told = {"adaptive": "adaptive thinking is not supported on this model"}.get(
            thinking, f'"thinking.type.{thinking}" is not supported for this model'
        )
        return InvalidRequest(f"{field_path}: {told}; leave `thinking` out or ask another model")
    block = next((block for path, block in _blocks(request) if path == field_path), None)
    if isinstance(block, ImageParam | DocumentParam | SearchResultParam):
        mend = ", or install renga[ocr] at the server, which reads images to models that see none"
        return InvalidRequest(
            f"{field_path}: `{block.type}` blocks are not supported by backend '{name}'; leave "
            f"them out or ask another model{mend if isinstance(block, ImageParam) else ''}"
        )
    why = " (its chat template has no form of calls that is known here)" * (field_path == "tools")
    return InvalidRequest(
        f"{field_path}: backend '{name}' cannot honour this{why}; leave it out or ask another model"
    )
