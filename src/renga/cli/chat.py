"""`renga chat`: a conversation at the terminal.

Owns that ctrl-c stops the answer and not the program: the event loop runs in a thread of its own,
so that the main thread, where signals arrive, can cancel what runs there. What was said until then
stays in the conversation.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from renga.cli.ask import open_source
from renga.cli.options import (
    AgainstOption,
    ConfigOption,
    MaxTokensOption,
    ModelOption,
    SystemOption,
    TierOption,
)
from renga.cli.screen import complain, whisper, write
from renga.errors import RengaError, SetupError

if TYPE_CHECKING:
    from renga.cli.sources import Account, Source

T = TypeVar("T")

HELP = "/quit ends, /clear forgets, /system TEXT sets the system prompt; ctrl-c stops an answer"


def run(
    tier: TierOption = "haiku",
    system: SystemOption = None,
    max_tokens: MaxTokensOption = 1024,
    model: ModelOption = None,
    against: AgainstOption = None,
    config: ConfigOption = None,
) -> None:
    """Talk at the terminal. ctrl-c stops the answer; /quit, /clear, /system TEXT."""
    with suppress(ImportError):
        import readline  # noqa: F401  its import gives `input` line editing
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a slip of the keyboard ends nothing
    loop = LoopThread()
    try:
        source = loop.run(open_source(against, config, model))
        try:
            whisper(HELP)
            _talk(Conversation(tier, max_tokens, system or ""), source, loop)
        finally:
            loop.run(source.aclose())
    finally:
        loop.stop()


@dataclass
class Conversation:
    """What has been said. `turns` alternate, the user first."""

    tier: str
    max_tokens: int
    system: str = ""
    turns: list[dict[str, str]] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """The request that continues it."""
        body: dict[str, Any] = {
            "model": self.tier,
            "max_tokens": self.max_tokens,
            "messages": self.turns,
        }
        return {**body, "system": self.system} if self.system else body


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="renga-chat")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result. ctrl-c cancels it, waits until it has ended, and raises KeyboardInterrupt."""
        begun: Future[asyncio.Task[T]] = Future()
        done = threading.Event()

        def begin() -> None:
            task = self._loop.create_task(work)
            task.add_done_callback(lambda _: done.set())
            begun.set_result(task)

        self._loop.call_soon_threadsafe(begin)
        task = begun.result()
        try:
            done.wait()
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(task.cancel)
            done.wait()
            raise
        return task.result()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _talk(talk: Conversation, source: Source, loop: LoopThread) -> None:
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            whisper("\n" + HELP)
            continue
        command, _, rest = line.partition(" ")
        match command:
            case "/quit" | "/exit":
                return
            case "/clear":
                talk.turns.clear()
            case "/system":
                talk.system = rest.strip()
            case "":
                pass
            case _ if command.startswith("/"):
                complain(f"there is no {command}", HELP)
            case _:
                _answer(line, talk, source, loop)


def _answer(line: str, talk: Conversation, source: Source, loop: LoopThread) -> None:
    """One turn of each side. A turn that brought nothing is forgotten, the question with it."""
    from renga.cli.sources import Account

    account, said = Account(), list[str]()
    talk.turns.append({"role": "user", "content": line})
    try:
        loop.run(_stream(talk, source, account, said))
    except KeyboardInterrupt:
        account.stop_reason = "stopped"
    except (RengaError, SetupError) as error:
        complain(error.message, getattr(error, "hint", ""))
    write("\n")
    answer = "".join(said).rstrip()
    if answer:
        talk.turns.append({"role": "assistant", "content": answer})
    else:
        talk.turns.pop()
    whisper(account.line())


async def _stream(talk: Conversation, source: Source, account: Account, said: list[str]) -> None:
    from renga.cli.sources import request_of, texts

    async for piece in texts(source, request_of(talk.body()), account):
        said.append(piece)
        write(piece)
