"""A vision-language model in OpenVINO's form, run by openvino_genai in a process of its own.

Owns what differs from `renga.backends.local`: a prompt goes as text, with a tag where each image
is, and pixels beside it; one answer is made at a time; nothing is cached, constrained or thought.
What a model folder must hold to be one is in `renga.models.vision`.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from msgspec.structs import asdict

from renga.backends.base import Attempt, Capabilities, Health, refuse
from renga.backends.local import LEAST_TOP_P, Answer, count_in, sampling_of
from renga.backends.steps import traced
from renga.backends.telling import not_running, telling
from renga.chat.calling import ToolGrammars
from renga.chat.demand import Demand, demand_of
from renga.chat.render import ZERO_WIDTH_SPACE, ChatTemplate
from renga.config import BackendConfig
from renga.engine.client import EngineClient, EngineStartError
from renga.engine.messages import IMAGE_TAG, EngineSettings, Finished, Picture, Show
from renga.errors import BackendFailed, InvalidRequest, SetupError
from renga.events import Event
from renga.ids import Ids, make_ids
from renga.machine import Machine
from renga.media.documents import Documents
from renga.media.placing import placed
from renga.models.vision import SeeingFolder, find_seeing
from renga.types import (
    MAX_OUTPUT_TOKENS,
    Likelihood,
    MessagesRequest,
    Prompt,
    ScoreRequest,
    TunedRequest,
)

PROGRAM: Final = "renga.engine.vision"
# An image is computed in one piece, before the first sign of life: for large ones it takes long.
PATIENCE_SECONDS: Final = 900.0
START_SECONDS: Final = 300.0

# What stands for an image in some model's prompts: from a caller it is text and nothing else.
_TAGS: Final = re.compile(
    r"<(?=ov_genai_|image\b|video\b|\|image|\|video|\|vision|start_of_image|image_soft|img|IMG)"
)


@dataclass(frozen=True)
class Seen:
    """A request as the model takes it."""

    prompt: str
    images: list[Picture]
    demand: Demand


class SeeingBackend:
    """See the module. `engine` and `model` are there from `start` to `aclose`."""

    kind = "openvino_vlm"

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
        self.model: SeeingFolder | None = None
        self._config = config
        self._home = home
        self._machine = machine or Machine()
        self._ids = ids or make_ids()
        self._template: ChatTemplate | None = None
        self._documents = Documents()
        self._grammars = ToolGrammars()
        self._numbers = itertools.count(1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            window=self._running().facts.window,
            max_output=MAX_OUTPUT_TOKENS,
            images=True,
            documents=True,
        )

    async def start(self) -> None:
        """Check the model's folder, then load it. Raises SetupError."""
        if find_spec("openvino_genai") is None or find_spec("PIL") is None:
            raise SetupError(
                f"backend '{self.name}': models that see need an extra",
                "pip install 'renga[vision]'",
            )
        self._machine.expect(self.name)
        try:
            model = await asyncio.to_thread(find_seeing, self._config.model, self._home)
            template = await asyncio.to_thread(ChatTemplate.load, model.path)
            settings = EngineSettings(
                model=str(model.path),
                threads=self._config.threads or self._machine.threads(self.name),
                max_waiting=self._config.max_waiting,
                window=min(self._config.window or model.window, model.longest),
                start_seconds=START_SECONDS,
            )
            self._machine.promise(self.name, model.weight_bytes)
            self.engine = await EngineClient.start(settings, PATIENCE_SECONDS, PROGRAM)
        except EngineStartError as error:
            self._machine.release(self.name)
            raise SetupError(
                f"backend '{self.name}': model '{self._config.model}' cannot be loaded: {error}",
                "openvino_genai must know its architecture; `renga models verify` checks its files",
            ) from error
        except BaseException:
            self._machine.release(self.name)
            raise
        self.model, self._template = model, template

    async def aclose(self) -> None:
        """End the processes. Idempotent."""
        engine, self.engine, self._template = self.engine, None, None
        try:
            await self._documents.aclose()
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
        facts = self.engine.facts
        words = f"sees ({self.model.architecture}), window {facts.window:,}"
        if not self.engine.alive:
            return Health("restarting", f"{words}; its process is being started again")
        return Health("ready", f"{words}, {facts.threads} threads")

    async def count_tokens(self, request: Prompt) -> int:
        seen = await self._see(request)
        show = Show(id=self._next_id("count"), prompt=seen.prompt, images=seen.images, max_tokens=0)
        with self._asking():
            async with aclosing(self._running().generate(show)) as messages:
                async for message in messages:
                    if isinstance(message, Finished):
                        self._check(message)
                        return message.prompt_tokens
        raise AssertionError("every request ends with Finished or an exception")

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The model's answer."""
        engine = self._running()
        seen = await self._see(request)
        answer = Answer(self.name, self._ids, seen.demand, None)
        show = self._show(request, attempt, seen)
        with self._asking(), traced(attempt.trace, partial(count_in, attempt)) as meter:
            async with aclosing(engine.generate(show, meter)) as messages:
                async for message in messages:
                    if isinstance(message, Finished) and message.reason == "window":
                        self._check_window(message)
                    for event in answer.events(message):
                        yield event

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """openvino_genai tells no likelihoods of what it did not write."""
        raise refuse(self.name, "continuations", request)

    async def _see(self, request: Prompt) -> Seen:
        template = self._template
        if template is None:
            raise not_running(self.name)
        taken = await placed(request)
        pictures = [
            await self._documents.pixels_of(image, path)
            for image, path in zip(taken.images, taken.paths, strict=True)
        ]
        demand = await asyncio.to_thread(demand_of, taken.request, template, self._grammars)
        text = await asyncio.to_thread(template.shielded, demand.prompt)
        prompt = "".join(
            IMAGE_TAG.format(piece)
            if isinstance(piece, int)
            else _TAGS.sub(f"<{ZERO_WIDTH_SPACE}", piece)
            for piece in taken.pieces(text)
        )
        images = [Picture(one.width, one.height, one.pixels) for one in pictures]
        return Seen(prompt, images, demand)

    def _show(self, request: MessagesRequest, attempt: Attempt, seen: Seen) -> Show:
        assert self.model is not None, "the model is there while the engine runs"
        drawn = sampling_of(request, self.model.sampling)
        return Show(
            id=self._next_id(attempt.request_id),
            prompt=seen.prompt,
            images=seen.images,
            max_tokens=request.max_tokens,
            temperature=drawn.temperature,
            top_p=max(drawn.top_p, LEAST_TOP_P),
            top_k=drawn.top_k,
            seed=request.seed if isinstance(request, TunedRequest) else None,
            stop=list(seen.demand.stop),
        )

    def _check(self, last: Finished) -> None:
        if last.reason == "error":
            raise BackendFailed(f"backend '{self.name}': {last.error}")

    def _check_window(self, last: Finished) -> None:
        """Raise InvalidRequest where it was the prompt that did not fit, and not the answer."""
        most = self._running().facts.window - 1
        if last.prompt_tokens > most:
            raise InvalidRequest(
                f"prompt is too long: {last.prompt_tokens} tokens > {most} maximum"
            )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self.open_streams += 1
        try:
            with telling(self.name, "its process", lambda: self.engine is not None):
                yield
        finally:
            self.open_streams -= 1

    def _next_id(self, prefix: str) -> str:
        return f"{prefix}.{next(self._numbers)}"

    def _running(self) -> EngineClient:
        if self.engine is None:
            raise not_running(self.name)
        return self.engine
