"""One answer of llama.cpp in the engine's words: legs of completions, one behind the other.

Thinking, free text up to a call, and what a grammar rules are a completion each, the next of which
begins where the one before ended; its prompt is still in its slot. Owned rules: they are the
engine's own (`renga.engine.request`): thinking ends with what the template closes it with, whoever
writes it, and knows the limit alone; a grammar rules from its trigger on, and from there no stop
sequence; every answer ends exactly at its end token, stop sequence or limit. What does not follow
its grammar is an error and no answer.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from renga.engine.cache import CacheUse
from renga.engine.messages import Finished, Reason, Started
from renga.engine.text import TextStream, Vocabulary
from renga.llamacpp.asking import Ask, Prompt, Said, Thinking, Use
from renga.llamacpp.grammar import Follower, framed

Event = Started | Said | Finished
LegEnd = Literal["eos", "limit", "word"]

_NO_TOKENS = Vocabulary([], frozenset())


class Completions(Protocol):
    """What answers: llama.cpp's server, or a test's."""

    def complete(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one completion. Closing it ends the work."""

    async def tokens(self, text: str) -> list[int]:
        """The tokens of a text, control tokens in it included."""


@dataclass(frozen=True)
class _Leg:
    """One completion: so many tokens at `most`, or until one of `ends` is written."""

    most: int
    grammar: str | None = None
    ends: tuple[str, ...] = ()


class Answer:
    """See the module. `window` are tokens; `use` tells once what the prompt's marks account for."""

    def __init__(self, ask: Ask, server: Completions, window: int, use: Use) -> None:
        self._ask, self._server, self._window, self._use = ask, server, window, use
        self._prompt: Prompt = ask.prompt
        self._started: Started | None = None
        self._used = self._thought = 0
        self._ahead = 0  # tokens of the answer that the first leg reads, not writes
        self._written = ""  # by the leg that runs
        self._ended: LegEnd = "limit"
        self._word = ""  # that ended the leg
        self._stopped: str | None = None
        self._error: str | None = None

    async def events(self) -> AsyncGenerator[Event, None]:
        """`Started`, some `Said`, then `Finished`."""
        ask = self._ask
        if ask.thinking is not None and ask.most:
            async with aclosing(self._think(ask.thinking)) as events:
                async for event in events:
                    yield event
        if self._used < ask.most:
            async with aclosing(self._write()) as events:
                async for event in events:
                    yield event
        elif self._started is None:
            for event in await self._read():
                yield event
        yield self._finished(self._reason())

    async def _read(self) -> list[Event]:
        """Have the prompt computed and nothing written."""
        async with aclosing(self._run(_Leg(most=0))) as said:
            async for event in said:
                if isinstance(event, Started):
                    break
        return self._begun

    # --- thinking ---------------------------------------------------------------------------------

    async def _think(self, thinking: Thinking) -> AsyncGenerator[Event, None]:
        most, closed, eos = min(thinking.budget, self._ask.most), "", False
        if most > 0:
            leg = _Leg(most, ends=tuple(thinking.ends))
            async with aclosing(self._run(leg)) as said:
                async for event in said:
                    if isinstance(event, Said):
                        self._thought += event.count
                        event.thinking = True
                    yield event
            closed = self._word if self._ended == "word" else ""
            eos = self._came_to_an_end
        if self._used >= self._ask.most:
            return
        due = thinking.behind if closed else thinking.closing
        tokens = await self._server.tokens(due)
        await self._go_on(self._written + closed + due)
        # Whoever has thought enough to end the turn owes the answer: that token is taken back.
        count = min(len(tokens) - eos, self._ask.most - self._used)
        self._used, self._thought = self._used + count, self._thought + count
        if self._started is None:
            self._ahead = count
        else:
            yield Said("", [], "", thinking=True, count=count)

    # --- the answer -------------------------------------------------------------------------------

    async def _write(self) -> AsyncGenerator[Event, None]:
        ask = self._ask
        held = [*ask.stop, *([ask.quiet] if ask.quiet and ask.stop else ())]
        stops: TextStream | None = TextStream(_NO_TOKENS, held)
        most = ask.most - self._used
        if ask.trigger is not None:
            leg = _Leg(most, ends=(ask.trigger,))
        else:
            leg = _Leg(most, ask.grammar)
        async with aclosing(self._run(leg)) as said:
            async for event in said:
                if isinstance(event, Said) and stops is not None:
                    event.text = stops.push_text(event.text)
                    if stops.stopped is not None and stops.stopped == ask.quiet:
                        event.text += stops.stopped + stops.rest
                        stops = None
                    elif stops.stopped is not None:
                        self._stopped = stops.stopped
                        yield event
                        return
                yield event
        if stops is not None and (rest := stops.finish()):
            yield Said("", [], rest)
        if ask.trigger is not None and self._ended == "word":
            async with aclosing(self._call(ask.trigger)) as events:
                async for event in events:
                    yield event

    async def _call(self, trigger: str) -> AsyncGenerator[Event, None]:
        """What follows the trigger, which the grammar begins with: it is written once more."""
        again = len(await self._server.tokens(trigger))
        self._used -= again
        await self._go_on(self._written)
        async with aclosing(
            self._run(_Leg(self._ask.most - self._used, self._ask.grammar))
        ) as said:
            async for event in said:
                if isinstance(event, Said) and again:
                    taken = min(again, event.count)
                    event.count, again = event.count - taken, again - taken
                yield event

    async def _go_on(self, text: str) -> None:
        """Let the next leg begin behind `text`, which the one before wrote."""
        if text:
            self._prompt = self._prompt.then(text, await self._server.tokens(text))

    # --- one leg ----------------------------------------------------------------------------------

    async def _run(self, leg: _Leg) -> AsyncGenerator[Event, None]:
        """The events of a leg: how it ended is known behind the last."""
        self._written, self._ended, self._word = "", "limit", ""
        room = self._window - len(self._prompt.tokens)
        if self._started is not None and min(leg.most, room) <= 0:
            return
        follower = Follower(leg.grammar) if leg.grammar is not None else None
        if follower is not None and follower.error is not None:
            self._error = f"grammar: {follower.error}"
            return
        count = 0
        async with aclosing(self._server.complete(self._body(leg))) as events:
            async for event in events:
                if "prompt_progress" in event:
                    for begun in self._begun_with(event["prompt_progress"]):
                        yield begun
                    continue
                new, count = event["tokens_predicted"] - count, event["tokens_predicted"]
                text = event.get("content", "")
                if event.get("stop"):
                    self._end(event)
                if follower is not None and not follower.push(text):
                    self._error = "grammar: what came does not follow it"
                    return
                self._used += new
                self._written += text
                if new or text:
                    yield Said("", [], text, count=new)
        if follower is not None and self._came_to_an_end and not follower.whole:
            self._error = "grammar: the answer ended within it"

    @property
    def _came_to_an_end(self) -> bool:
        """Whether the leg ended because the model was done."""
        return self._ended == "eos"

    def _begun_with(self, progress: dict[str, int]) -> list[Event]:
        return self._begun if self._begins(progress) else []

    def _begins(self, progress: dict[str, int]) -> bool:
        """Whether the first leg's prompt is computed with this."""
        if self._started is not None or progress["processed"] < progress["total"]:
            return False
        total = progress["total"] - self._ahead
        reused = min(progress["cache"], total)
        use: CacheUse = self._use(reused)
        self._started = Started("", total, reused, use.read, use.write_5m, use.write_1h)
        return True

    @property
    def _begun(self) -> list[Event]:
        """`Started`, and what was written ahead of the first leg."""
        started: list[Event] = [] if self._started is None else [self._started]
        if not self._ahead:
            return started
        return [*started, Said("", [], "", thinking=True, count=self._ahead)]

    def _end(self, event: dict[str, Any]) -> None:
        kind = event.get("stop_type")
        self._ended = kind if kind in ("eos", "word") else "limit"
        self._word = event.get("stopping_word", "")

    def _body(self, leg: _Leg) -> dict[str, Any]:
        ask, draw = self._ask, self._ask.draw
        body: dict[str, Any] = {
            "prompt": self._prompt.body(),
            "n_predict": min(leg.most, self._window - len(self._prompt.tokens)),
            "stream": True,
            "return_progress": True,
            "cache_prompt": True,
            "samplers": ["temperature", "top_k", "top_p", "min_p"],
            "temperature": draw.temperature,
            "top_k": draw.top_k,
            "top_p": draw.top_p,
            "min_p": draw.min_p,
            "seed": -1 if draw.seed is None else draw.seed % (1 << 32),
            "stop": list(leg.ends),
            "response_fields": [
                "content",
                "stop",
                "stop_type",
                "stopping_word",
                "tokens_predicted",
            ],
        }
        if leg.grammar is not None:
            body["grammar"] = framed(leg.grammar, ask.ends)
        if ask.shown:
            body["preserved_tokens"] = list(ask.shown)
        return body

    # --- the end ----------------------------------------------------------------------------------

    def _reason(self) -> Reason:
        if self._error is not None:
            return "grammar"
        if self._stopped is not None:
            return "stop_sequence"
        if self._came_to_an_end:
            return "end_turn"
        return "max_tokens" if self._used >= self._ask.most else "window"

    def _finished(self, reason: Reason) -> Finished:
        started = self._started
        return Finished(
            id="",
            reason=reason,
            stop_sequence=self._stopped,
            prompt_tokens=0 if started is None else started.prompt_tokens,
            reused_tokens=0 if started is None else started.reused_tokens,
            output_tokens=self._used,
            thinking_tokens=self._thought,
            error=self._error,
        )
