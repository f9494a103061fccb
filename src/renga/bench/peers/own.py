"""Our own engine, in the process that serves it everywhere else, with the settings it has there."""

import asyncio
import itertools
from contextlib import aclosing

from renga.bench.load import Ask, BenchError, Timing
from renga.bench.subject import Subject
from renga.engine.client import EngineClient, EngineStartError
from renga.engine.messages import EngineSettings, Finished, Output, Score, Stats, Submit
from renga.errors import SetupError

START_SECONDS = 300.0
# The engine says its figures when it falls idle; they are here soon after.
SETTLE_SECONDS = 0.3


class OwnEngine:
    """See the module."""

    kind = "renga"
    name = "renga"

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._numbers = itertools.count()

    async def answer(self, ask: Ask, timing: Timing) -> None:
        """Answer one request."""
        submit = Submit(
            id=str(next(self._numbers)),
            salt="bench",
            prompt=ask.prompt,
            max_tokens=ask.tokens,
            temperature=0.0,
            lane=ask.lane,
            grammar=ask.grammar,
        )
        async with aclosing(self._client.generate(submit)) as events:
            async for event in events:
                if isinstance(event, Output):
                    timing.add(len(event.tokens))
                elif isinstance(event, Finished) and event.error is not None:
                    raise BenchError(f"renga: {event.error}")

    async def score(
        self, prompt: list[int], continuations: list[list[int]], *, choice: bool
    ) -> None:
        """Score the continuations of a prompt; `choice` is whether there are no others."""
        number = str(next(self._numbers))
        scored, finished = await self._client.score(
            Score(
                id=number,
                salt="bench",
                prompt=prompt,
                continuations=continuations,
                choice=choice,
            )
        )
        if scored is None:
            raise BenchError(f"renga: {finished.error}")

    async def stats(self) -> Stats:
        """The engine's totals; to be asked when nothing runs."""
        await asyncio.sleep(SETTLE_SECONDS)
        stats = self._client.stats()
        if stats is None:
            raise BenchError("renga: it has answered nothing yet")
        return stats

    async def aclose(self) -> None:
        """End its process."""
        await self._client.aclose()


async def start(subject: Subject, *, draft_tokens: int | None = None) -> OwnEngine:
    """Start the engine. Raises SetupError where the model cannot be loaded."""
    settings = EngineSettings(
        model=str(subject.folder),
        kv_bytes=subject.kv_bytes,
        start_seconds=START_SECONDS,
        draft_tokens=draft_tokens,
    )
    try:
        return OwnEngine(await EngineClient.start(settings))
    except EngineStartError as error:
        raise SetupError(f"model '{subject.name}' cannot be loaded: {error}") from error
