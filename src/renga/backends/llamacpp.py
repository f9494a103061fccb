"""A GGUF model that llama.cpp runs in a process of its own: the engine's words from another engine.

Owns what differs from `renga.backends.local`: the model and its template come from one file, its
tokens from llama.cpp itself, and nothing can be pinned in its cache. Prompts are rendered, counted
and held to grammars as everywhere else, and answers are read the same way. It knows no tiers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from renga import caching
from renga.backends.base import Attempt, Capabilities, Health, refuse
from renga.backends.local import (
    LEAST_TOP_P,
    Answer,
    count_in,
    lane_of,
    read_with_breakpoints,
    sampling_of,
    short_count,
)
from renga.backends.steps import traced
from renga.backends.telling import not_running, telling
from renga.chat.calling import ToolGrammars
from renga.chat.demand import EFFORTS, Demand, budget_of, demand_of, opened_by, prompt_of
from renga.chat.render import ChatTemplate
from renga.chat.schema import grammar_of
from renga.config import BackendConfig
from renga.conversation import is_prefilled
from renga.engine.client import EngineStartError
from renga.engine.memory import megabytes
from renga.engine.messages import Breakpoint
from renga.errors import BackendFailed, InvalidRequest, SetupError
from renga.events import Event
from renga.ids import Ids, make_ids
from renga.llamacpp.answer import Event as EngineEvent
from renga.llamacpp.asking import Ask, Draw, Prompt, Said, Thinking
from renga.llamacpp.grammar import as_lark
from renga.llamacpp.memory import Plan, settings_of
from renga.llamacpp.pictures import APART, Pictures
from renga.llamacpp.server import LlamacppServer, Refused, TooLong
from renga.llamacpp.tokenizer import GgufTokenizer
from renga.machine import Machine
from renga.media.documents import Documents
from renga.media.walking import Medium, changed, has_media
from renga.models.find import Sampling
from renga.models.gguf import CONTROL, GgufModel, find_gguf
from renga.models.locate import locate
from renga.types import (
    MAX_OUTPUT_TOKENS,
    Base64Image,
    ImageParam,
    Likelihood,
    MessagesRequest,
    ScoreRequest,
    TextParam,
    TunedRequest,
)
from renga.types import Prompt as Request

Asked = TypeVar("Asked", bound=Request)

# A GGUF says nothing of how its tokens are drawn; llama.cpp's own custom is far from the API's.
OWN_SAMPLING = Sampling()


@dataclass(frozen=True)
class Read:
    """A request as llama.cpp takes it. `cache` are the prompt's breakpoints, in order."""

    prompt: Prompt
    demand: Demand
    thinking: Thinking | None
    cache: list[Breakpoint]


@dataclass(frozen=True)
class Rendered:
    """A prompt of `size` tokens, images included; `opened` are those of its text."""

    prompt: Prompt
    size: int
    opened: list[int]
    cache: list[Breakpoint]


class LlamacppBackend:
    """See the module. `server` and `model` are there from `start` to `aclose`."""

    kind = "llamacpp"

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
        self.server: LlamacppServer | None = None
        self.model: GgufModel | None = None
        self._config = config
        self._home = home
        self._machine = machine or Machine()
        self._ids = ids or make_ids()
        self._template: ChatTemplate | None = None
        self._plan: Plan | None = None
        self._texts: dict[int, str] = {}
        self._grammars = ToolGrammars()
        self._pictures: Pictures | None = None
        self._documents = Documents()

    @property
    def capabilities(self) -> Capabilities:
        forms = self._loaded_template().forms
        thinks = forms.thought is not None
        return Capabilities(
            window=self._running().facts.window,
            max_output=MAX_OUTPUT_TOKENS,
            structured_output=True,
            prompt_caching=True,
            tools=forms.call is not None,
            images=self._pictures is not None,
            documents=True,
            thinking=frozenset(("enabled", "adaptive", "disabled") if thinks else ("disabled",)),
            efforts=frozenset(EFFORTS) if thinks else frozenset(),
        )

    async def start(self) -> None:
        """Check the model's file, then load it. Raises SetupError."""
        self._machine.expect(self.name)
        try:
            model = await asyncio.to_thread(self._find)
            settings, self._plan = settings_of(self._config, model, self._machine)
            self.server = await LlamacppServer.start(settings, waiting=self._config.max_waiting)
            sees = self.server.facts.sees
            self._pictures = Pictures(self.server.image_tokens) if sees else None
            tokenizer = GgufTokenizer(self.server, model.vocab, model.markers, self._pictures)
            self._template = await asyncio.to_thread(_template, model, tokenizer)
        except EngineStartError as error:
            await self.aclose()
            raise SetupError(
                f"backend '{self.name}': model '{self._config.model}' cannot be loaded: {error}",
                _mend(str(error)),
            ) from error
        except BaseException:
            await self.aclose()
            raise
        self.model = model
        kinds = model.header.metadata.get("tokenizer.ggml.token_type") or ()
        self._texts = {id_: text for text, id_ in model.markers.items() if kinds[id_] != CONTROL}

    async def aclose(self) -> None:
        """End llama.cpp's process. Idempotent."""
        server, self.server, self._template = self.server, None, None
        try:
            if server is not None:
                await server.aclose()
            await self._documents.aclose()
        finally:
            self._machine.release(self.name)

    def figures(self) -> Mapping[str, float]:
        return {} if self.server is None else self.server.figures()

    def health(self) -> Health:
        if self.server is None or self.model is None or self._plan is None:
            return Health("unloaded", "stopped")
        model, plan = self.model, self._plan
        size = f"{short_count(model.parameters)} parameters, {model.precision}"
        slots = f"{plan.slots} slot" + ("s" if plan.slots != 1 else "")
        words = (
            f"{size}, window {self.server.facts.window:,}, {slots} of llama.cpp, "
            f"{megabytes(plan.kv_bytes)} for keys and values"
        )
        if not self.server.alive:
            return Health("restarting", f"{words}; llama.cpp is being started again")
        return Health("ready", words)

    async def count_tokens(self, request: Request) -> int:
        with self._asking(count=False):
            request, data = await self._sighted(request)
            return await asyncio.to_thread(self._size, request, data)

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The model's answer."""
        server = self._running()
        with self._asking(count=False):
            request, data = await self._sighted(request)
            read = await asyncio.to_thread(self._read, request, data)
        answer = Answer(self.name, self._ids, read.demand, None)
        ask = self._ask(request, attempt, read)
        with self._asking(), traced(attempt.trace, partial(_count, attempt)) as meter:
            async with aclosing(server.generate(ask, meter)) as messages:
                async for message in messages:
                    for event in answer.events(message):
                        yield event

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """llama.cpp does not tell how likely a given text is."""
        raise refuse(self.name, "continuations", request)

    @contextmanager
    def _asking(self, *, count: bool = True) -> Iterator[None]:
        """One request to llama.cpp; what goes wrong there, as a caller is told it."""
        self.open_streams += count
        try:
            with telling(self.name, "llama.cpp's process", lambda: self.server is not None):
                yield
        except TooLong as error:
            raise self._too_long(error.tokens) from error
        except Refused as error:
            raise BackendFailed(f"backend '{self.name}': {error}") from error
        finally:
            self.open_streams -= count

    async def _sighted(self, request: Asked) -> tuple[Asked, dict[str, str]]:
        """`request` with marks for its images where this model sees, and the images by mark."""
        data: dict[str, str] = {}
        pictures = self._pictures
        if pictures is not None and has_media(request):

            async def put(path: str, block: Medium) -> Medium | TextParam:
                if not isinstance(block, ImageParam) or not isinstance(block.source, Base64Image):
                    return block
                seen = await self._documents.pixels_of(block.source, path)
                mark, image = await pictures.add(seen.width, seen.height, seen.pixels)
                data[mark] = image
                return TextParam(text=mark, cache_control=block.cache_control)

            request = await changed(request, put)
        return request, data

    def _size(self, request: Request, data: dict[str, str]) -> int:
        """Tokens of the prompt. What no answer could follow is refused; for calls none is made."""
        grammar_of(request)
        return self._rendered(request, data, self._loaded_template()).size

    def _read(self, request: Request, data: dict[str, str]) -> Read:
        """Raises InvalidRequest: what does not fit is refused before a grammar is made for it."""
        template, window = self._loaded_template(), self._running().facts.window
        rendered = self._rendered(request, data, template)
        if rendered.size >= window:
            raise self._too_long(rendered.size)
        demand = demand_of(request, template, self._grammars)
        thinking = _thinking_of(rendered.opened, demand, template, window)
        return Read(rendered.prompt, demand, thinking, rendered.cache)

    def _rendered(self, request: Request, data: dict[str, str], template: ChatTemplate) -> Rendered:
        demand = prompt_of(request, template)
        cache: list[Breakpoint] = []
        if isinstance(request, MessagesRequest) and caching.is_marked(request):
            least = self._config.cache_minimum_tokens
            tokens, cache = read_with_breakpoints(template, demand.prompt, least)
        else:
            tokens = template.tokens(demand.prompt)
        opened = opened_by(tokens, demand, template)
        if not data:
            return Rendered(Prompt(tokens=opened), len(opened), opened, cache)
        text = self._text_of(demand, template, opens=len(opened) > len(tokens))
        size = len(template.tokenizer.encode(text))
        return Rendered(self._pictured(text, data), size, opened, cache)

    def _text_of(self, demand: Demand, template: ChatTemplate, *, opens: bool) -> str:
        """A prompt with images as text, of which llama.cpp makes tokens itself."""
        measured = template.measure(demand.prompt, template.read(demand.prompt), [])
        text = measured.text
        if measured.breaker is not None:
            text = text.replace(measured.breaker, APART)
        marks = template.forms.thought
        if opens:
            text += marks.opening if marks is not None and demand.thinks else demand.opening
        return text

    def _pictured(self, text: str, data: dict[str, str]) -> Prompt:
        assert self._pictures is not None, "images were put there by it"
        assert self.model is not None, "the model is there while its server runs"
        bos = self.model.special.get("bos_token")
        if self.model.begins_with_bos and bos:
            text = text.removeprefix(bos)  # llama.cpp writes it itself
        return self._pictures.prompt(text, data, self._running().facts.media)

    def _ask(self, request: MessagesRequest, attempt: Attempt, read: Read) -> Ask:
        drawn = sampling_of(request, OWN_SAMPLING)
        demand, markers = read.demand, self._loaded_template().tokenizer.markers
        texts = {id_: text for text, id_ in markers.items()}
        grammar = demand.grammar
        return Ask(
            workspace=attempt.workspace,
            prompt=read.prompt,
            most=request.max_tokens,
            draw=Draw(
                temperature=drawn.temperature,
                top_p=max(drawn.top_p, LEAST_TOP_P),
                top_k=drawn.top_k,
                min_p=drawn.min_p,
                seed=request.seed if isinstance(request, TunedRequest) else None,
            ),
            stop=demand.stop,
            grammar=None if grammar is None else as_lark(grammar, self._texts),
            trigger=None if demand.trigger is None else texts[demand.trigger],
            quiet=None if demand.quiet is None else texts[demand.quiet],
            thinking=read.thinking,
            ends=self.model.ends if self.model is not None else (),
            shown=[texts[id_] for id_ in demand.shown if id_ in texts]
            + ([read.thinking.marker] if read.thinking is not None else []),
            cache=read.cache,
            lane=lane_of(attempt),
        )

    def _find(self) -> GgufModel:
        """The model's file and what it sees with. Raises SetupError."""
        found = locate(self._config.model, self._home)
        model = find_gguf(found.path, found.name)
        if model.template is None:
            raise SetupError(
                f"model file {model.path} has no chat template",
                "it is no chat model; take the GGUF of its instruction-tuned form",
            )
        if not self._config.projector:
            return model
        projector = Path(self._config.projector).expanduser()
        if not projector.is_file():
            raise SetupError(
                f"backend '{self.name}': projector = '{projector}' is no file",
                "name the mmproj file that belongs to the model",
            )
        return replace(model, projector=projector)

    def _too_long(self, size: int) -> InvalidRequest:
        most = self._running().facts.window - 1
        return InvalidRequest(f"prompt is too long: {size} tokens > {most} maximum")

    def _running(self) -> LlamacppServer:
        if self.server is None:
            raise not_running(self.name)
        return self.server

    def _loaded_template(self) -> ChatTemplate:
        template = self._template
        if template is None:
            raise not_running(self.name)
        return template


def _template(model: GgufModel, tokenizer: GgufTokenizer) -> ChatTemplate:
    """The file's own template. Raises SetupError where it is none."""
    source = model.template or ""
    bos = model.special.get("bos_token")
    if model.begins_with_bos and bos and "bos_token" not in source and bos not in source:
        source = "{{ bos_token }}" + source
    return ChatTemplate.of(source, tokenizer, special=model.special, file=model.path)


def _thinking_of(
    tokens: list[int], demand: Demand, template: ChatTemplate, window: int
) -> Thinking | None:
    """What is thought first, and how much; a thought that nobody wants is closed at once."""
    marks = template.forms.thought
    if marks is None:
        return None
    opening = template.tokenizer.encode(marks.opening)
    if tokens[-len(opening) :] != opening or is_prefilled(demand.prompt):
        return None
    closing = marks.closing + demand.opening
    budget = 0
    if demand.thinks and isinstance(demand.prompt, MessagesRequest):
        end = len(template.tokenizer.encode(closing))
        budget = max(0, budget_of(demand.prompt, window - len(tokens)) - end)
    return Thinking(closing, marks.marker, budget)


def _mend(reason: str) -> str:
    if "xllamacpp is missing" in reason:
        return "pip install 'renga[gguf]'"
    if "unknown model architecture" in reason:
        return "this xllamacpp does not know it: a newer one may (pip install -U xllamacpp)"
    return "`renga models show` and `renga doctor` say more of the file and the machine"


def _count(attempt: Attempt, message: EngineEvent) -> None:
    """Fill the attempt's meter as the model works, whether or not its caller reads along."""
    if isinstance(message, Said):
        attempt.output += message.count
        attempt.thinking += message.count if message.thinking else 0
    else:
        count_in(attempt, message)
