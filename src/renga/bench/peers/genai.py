"""openvino_genai's continuous batching, in this process: the same kernels under another scheduler.

Its `step` holds the interpreter's lock, so times are taken in the thread that steps. Between two
steps it gives way for a moment, so that who was just answered can ask again before the next one.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from renga.bench.load import Ask, Timing
from renga.bench.subject import Subject
from renga.errors import SetupError

GIVE_WAY_SECONDS = 0.0005


@dataclass
class _Open:
    ask: Ask
    timing: Timing
    done: asyncio.Future[None]
    handle: Any = None


class Genai:
    """See the module."""

    kind = "openvino-genai"
    name = "openvino-genai"

    def __init__(self, pipeline: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._pipeline = pipeline
        self._loop = loop
        self._inbox: SimpleQueue[_Open | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def answer(self, ask: Ask, timing: Timing) -> None:
        """Answer one request."""
        opened = _Open(ask, timing, self._loop.create_future())
        self._inbox.put(opened)
        await opened.done

    async def aclose(self) -> None:
        """End the thread."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        running: list[_Open] = []
        number = 0
        while True:
            for opened in self._arrived(wait=not running):
                if opened is None:
                    return
                opened.handle = self._add(number, opened.ask)
                running.append(opened)
                number += 1
            self._pipeline.step()
            running = [opened for opened in running if not self._read(opened)]
            time.sleep(GIVE_WAY_SECONDS)

    def _arrived(self, *, wait: bool) -> list[_Open | None]:
        arrived: list[_Open | None] = []
        try:
            arrived.append(self._inbox.get() if wait else self._inbox.get_nowait())
            while True:
                arrived.append(self._inbox.get_nowait())
        except Empty:
            return arrived

    def _add(self, number: int, ask: Ask) -> Any:
        import openvino as ov
        import openvino_genai

        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = ask.tokens
        config.do_sample = False
        config.ignore_eos = ask.whole
        return self._pipeline.add_request(number, ov.Tensor([ask.prompt]), config)

    def _read(self, opened: _Open) -> bool:
        """Note what came; whether that was all."""
        import openvino_genai

        now = time.perf_counter()
        while opened.handle.can_read():
            for output in opened.handle.read().values():
                opened.timing.add(len(output.generated_ids), now)
        if opened.handle.get_status() == openvino_genai.GenerationStatus.RUNNING:
            return False
        self._loop.call_soon_threadsafe(_finish, opened.done)
        return True


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def start(subject: Subject) -> Genai:
    """Load the model. Raises SetupError where it cannot."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = max(1, -(-subject.kv_bytes // 2**30))
    scheduler.enable_prefix_caching = True
    scheduler.max_num_seqs = 32
    try:
        pipeline = await asyncio.to_thread(
            openvino_genai.ContinuousBatchingPipeline, str(subject.folder), scheduler, "CPU", {}
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise SetupError(f"openvino-genai cannot load {subject.folder}: {reason}") from error
    return Genai(pipeline, asyncio.get_running_loop())
