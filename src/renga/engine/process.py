"""The engine's own process: `python -m renga.engine.process`, frames in by stdin, out by stdout.

A thread reads frames into a queue so that the step loop never waits for them; at most one frame
goes out for each step. The process leaves when its parent's pipe closes. Owned rule: nothing but
frames is written to the pipe, whatever a native library prints.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO

from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import (
    LENGTH_BYTES,
    Cancel,
    Drain,
    EngineSettings,
    Failed,
    FromEngine,
    Output,
    Ready,
    Refused,
    Score,
    Show,
    Submit,
    ToEngine,
    frame,
    read_settings,
    read_to_engine,
)
from renga.engine.model import Model, ModelError, ModelFiles
from renga.engine.request import Language
from renga.engine.text import TokenizerError, Vocabulary

# Steps of a small model take 1-2 ms, and its reader has work to do for every frame: text waits at
# most so long for the next step's, in seconds.
_WRITE_SECONDS = 0.005
# How often a busy engine reports its figures, in seconds.
_STATS_SECONDS = 0.25
_STOPPING_SECONDS = 1.0

Inbox = SimpleQueue[list[ToEngine] | None]


def main() -> int:
    """Load the model that the first frame names, then serve until the pipe closes."""
    # The terminal's ctrl-c and a service manager's SIGTERM go to the whole group; the parent
    # decides when this process ends, by closing the pipe, so that running answers can finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source = os.fdopen(os.dup(0), "rb")
    pipe = os.dup(1)
    os.dup2(2, 1)

    def write(events: list[FromEngine]) -> None:
        _write(pipe, frame(events))

    first = _read_frame(source)
    if first is None:
        return 0
    begun = time.monotonic()
    try:
        engine, ready = load(read_settings(first), begun)
    except Exception as error:  # noqa: BLE001 - the parent must learn of any failure to load
        write([Failed(_sentence(error))])
        return 1
    write([ready])
    inbox: Inbox = SimpleQueue()
    threading.Thread(target=read_all, args=(source, inbox, engine.prepare), daemon=True).start()
    try:
        serve(engine, inbox, write, time.monotonic)
    except BrokenPipeError:
        return 0
    return 0


def load(settings: EngineSettings, begun: float) -> tuple[Engine, Ready]:
    """The engine of a model folder, and its facts. `begun` is when loading began (monotonic)."""
    files = ModelFiles.read(Path(settings.model))
    tokenizer = files.folder / "tokenizer.json"
    vocabulary = Vocabulary.load(tokenizer)
    model = Model(files, settings)
    ends = [*files.end_ids, *(one for one in settings.end_ids if one not in files.end_ids)]
    ends = [one for one in ends if one < model.vocab]
    language = Language(vocabulary, Grammars(tokenizer, model.vocab, ends), frozenset(ends))
    engine = Engine(
        model,
        language,
        settings,
        clock=time.monotonic,
        entropy=lambda: int.from_bytes(os.urandom(8), "big"),
    )
    ready = Ready(
        window=model.window,
        vocab=model.vocab,
        block_size=model.block_size,
        blocks=model.blocks,
        kv_bytes=model.kv_bytes,
        load_seconds=time.monotonic() - begun,
        threads=model.threads,
        precision=model.precision,
    )
    return engine, ready


def serve(
    engine: Engine,
    inbox: Inbox,
    write: Callable[[list[FromEngine]], None],
    clock: Callable[[], float],
) -> None:
    """Step while there is work; returns when the inbox ends, or when drained."""
    draining = False
    reported = written = clock()
    outbox = Outbox()
    while True:
        for message in _arrived(inbox, wait=not engine.busy):
            if message is None:
                return
            if isinstance(message, Drain):
                draining = True
            elif not isinstance(message, Show):  # that is for `renga.engine.vision`
                outbox.add(_take(engine, message, draining))
        outbox.add(engine.step())
        now = clock()
        if now - reported >= _STATS_SECONDS or not engine.busy:
            reported = now
            outbox.add([engine.stats()])
        if outbox.urgent or now - written >= _WRITE_SECONDS:
            written = now
            outbox.write(write)
        if draining and not engine.busy:
            return


class Outbox:
    """Events on their way out. Outputs of steps that follow closely become one for each request,
    thinking and answer apart.
    """

    def __init__(self) -> None:
        self.urgent = False
        """Whether there is something that should not wait for more: anything but text."""
        self._events: list[FromEngine] = []
        self._outputs: dict[str, Output] = {}

    def add(self, events: list[FromEngine]) -> None:
        """Append a step's events, joining an output to the one before it of the same request."""
        for event in events:
            if not isinstance(event, Output):
                self.urgent = True
                self._events.append(event)
                continue
            before = self._outputs.get(event.id)
            if before is not None and before.thinking == event.thinking:
                before.tokens += event.tokens
                before.text += event.text
                if before.logprobs is not None and event.logprobs is not None:
                    before.logprobs += event.logprobs
            else:
                self._outputs[event.id] = event
                self._events.append(event)

    def write(self, write: Callable[[list[FromEngine]], None]) -> None:
        """Hand over what is there, in order, and begin anew."""
        if self._events:
            write(self._events)
        self.urgent = False
        self._events = []
        self._outputs = {}


def _take(engine: Engine, message: Submit | Score | Cancel, draining: bool) -> list[FromEngine]:
    if isinstance(message, Cancel):
        return engine.cancel(message.id)
    if draining:
        return [Refused(message.id, "draining", _STOPPING_SECONDS)]
    return engine.submit(message)


def _arrived(inbox: Inbox, *, wait: bool) -> list[ToEngine | None]:
    """Everything in the inbox; None stands for its end. Waits for the first where asked to."""
    arrived: list[ToEngine | None] = []
    try:
        found = inbox.get() if wait else inbox.get_nowait()
        while True:
            if found is None:
                return [None]
            arrived += found
            found = inbox.get_nowait()
    except Empty:
        return arrived


def read_all(source: BinaryIO, inbox: Inbox, prepare: Callable[[Submit | Score], None]) -> None:
    """Put every frame's messages into the inbox, prepared here so that no step waits for it."""
    try:
        while (body := _read_frame(source)) is not None:
            messages = read_to_engine(body)
            for message in messages:
                if isinstance(message, Submit | Score):
                    prepare(message)
            inbox.put(messages)
    finally:
        inbox.put(None)


def _read_frame(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    body = source.read(length) if len(head) == LENGTH_BYTES else b""
    return body if body and len(body) == length else None


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _sentence(error: Exception) -> str:
    if isinstance(error, ModelError | TokenizerError):
        return str(error)
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
