"""The process of a vision-language model: `python -m renga.engine.vision`, by openvino_genai.

It speaks the engine's words (`renga.engine.messages`), so that `renga.engine.client` starts it,
watches it and starts it again; one answer is made at a time, the others wait. Owned rules: a prompt
is counted before it is computed, its images too; an answer that nobody waits for ends with its next
token; nothing but frames is written to the pipe. It knows no templates: its prompts are text.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

import numpy as np
import openvino as ov
import openvino_genai as genai

from renga.engine.messages import (
    IMAGE_TAG,
    LENGTH_BYTES,
    Cancel,
    Drain,
    EngineSettings,
    Failed,
    Finished,
    FromEngine,
    Output,
    Picture,
    Ready,
    Reason,
    Refused,
    Show,
    Started,
    frame,
    read_settings,
    read_to_engine,
)
from renga.engine.text import TextStream, Vocabulary

_CLEAN: Final = 32  # tokens after which whole text is not decoded again
_NO_WORDS: Final = Vocabulary([], frozenset())

Write = Callable[[list[FromEngine]], None]


def main() -> int:
    """Load the model that the first frame names, then answer until the pipe closes."""
    # As in `renga.engine.process`: the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source = os.fdopen(os.dup(0), "rb")
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def write(events: list[FromEngine]) -> None:
        with lock:
            pipe.write(frame(events))
            pipe.flush()

    first = _read_frame(source)
    if first is None:
        return 0
    settings = read_settings(first)
    try:
        model = SeeingModel(settings)
    except Exception as error:  # noqa: BLE001 - the parent must learn of any failure to load
        write([Failed(_sentence(error))])
        return 1
    write([model.facts])
    waiting = Waiting(settings.max_waiting)
    threading.Thread(target=waiting.read_all, args=(source, write), daemon=True).start()
    try:
        while (show := waiting.next()) is not None:
            model.answer(show, waiting, write)
            waiting.done(show.id)
    except BrokenPipeError:
        return 0
    return 0


class Waiting:
    """The requests that came and were not answered yet, and which of them nobody waits for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: SimpleQueue[Show | None] = SimpleQueue()
        self._open: set[str] = set()
        self._left: set[str] = set()

    def read_all(self, source: BinaryIO, write: Write) -> None:
        """Take what comes by the pipe, until it closes."""
        while (body := _read_frame(source)) is not None:
            for message in read_to_engine(body):
                match message:
                    case Show() if len(self._open) > self._most:
                        write([Refused(message.id, "overloaded", retry_after=5.0)])
                    case Show():
                        self._open.add(message.id)
                        self._queue.put(message)
                    case Cancel():
                        self._left.update(self._open & {message.id})
                    case Drain():
                        self._queue.put(None)
                    case _:
                        pass  # no other message is for a model that sees
        self._left.update(self._open)
        self._queue.put(None)

    def next(self) -> Show | None:
        """The next request; None where there will be no more."""
        while (show := self._queue.get()) is not None and self.has_left(show.id):
            self.done(show.id)
        return show

    def has_left(self, id_: str) -> bool:
        """Whether nobody waits for that answer any more."""
        return id_ in self._left

    def done(self, id_: str) -> None:
        """That request has ended."""
        self._open.discard(id_)
        self._left.discard(id_)


class SeeingModel:
    """A vision-language model, loaded."""

    def __init__(self, settings: EngineSettings) -> None:
        begun = time.monotonic()
        threads = settings.threads or os.cpu_count() or 1
        folder = Path(settings.model)
        self._pipeline: Any = genai.VLMPipeline(folder, "CPU", INFERENCE_NUM_THREADS=threads)
        self._tokenizer: Any = self._pipeline.get_tokenizer()
        self._own: Any = self._pipeline.get_generation_config()
        # What the pipeline puts before every prompt, and the tokens of images by their size.
        self._before = self._measured("a") - self._length("a")
        self._images: dict[tuple[int, int], int] = {}
        assert settings.window is not None, "the backend tells the window"
        self.facts = Ready(
            window=settings.window,
            vocab=0,
            block_size=1,
            blocks=0,
            kv_bytes=0,
            load_seconds=time.monotonic() - begun,
            threads=threads,
            precision="serving",
        )

    def answer(self, show: Show, waiting: Waiting, write: Write) -> None:
        """Everything that is to be said of one request."""
        size = 0
        try:
            size = self._size(show)
            room = self.facts.window - size
            if room <= 0:
                write([_finished(show.id, "window", size, 0)])
                return
            write([Started(show.id, size, 0)])
            if not show.max_tokens:
                write([_finished(show.id, "max_tokens", size, 0)])
                return
            streamer = _Streamer(show, self._tokenizer, waiting, write)
            done = self._generate(show, min(show.max_tokens, room), streamer)
            write(streamer.last(size, done, full=room <= show.max_tokens))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - one request's failure is not the others'
            write([_finished(show.id, "error", size, 0, error=_sentence(error))])

    def _size(self, show: Show) -> int:
        """Tokens of a prompt, those of its images with it."""
        text = show.prompt
        for n in range(len(show.images)):
            text = text.replace(IMAGE_TAG.format(n), "", 1)
        return self._before + self._length(text) + sum(map(self._tokens_of, show.images))

    def _tokens_of(self, picture: Picture) -> int:
        """Tokens of an image, which go by its size: found by having one of each size read."""
        size = picture.width, picture.height
        if size not in self._images:
            with_it = self._measured("a" + IMAGE_TAG.format(0), [picture])
            self._images[size] = with_it - self._before - self._length("a")
        return self._images[size]

    def _length(self, text: str) -> int:
        ids = self._tokenizer.encode(text, add_special_tokens=False).input_ids
        return int(ids.shape[-1]) if text else 0

    def _measured(self, prompt: str, images: Sequence[Picture] = ()) -> int:
        """Tokens of a prompt as the pipeline counts them, which it does by computing it."""
        config = self._config(1)
        done = self._call(prompt, images, config, None)
        return int(done.perf_metrics.get_num_input_tokens())

    def _generate(self, show: Show, most: int, streamer: _Streamer) -> Any:
        config = self._config(most)
        config.do_sample = show.temperature > 0
        if config.do_sample:
            config.temperature, config.top_p = show.temperature, show.top_p
            config.top_k = show.top_k or config.top_k
            drawn = int.from_bytes(os.urandom(4), "big") if show.seed is None else show.seed
            config.rng_seed = drawn % 2**32
        return self._call(show.prompt, show.images, config, streamer)

    def _config(self, most: int) -> Any:
        config = genai.GenerationConfig()
        config.apply_chat_template = False
        config.max_new_tokens = most
        config.do_sample = False
        config.eos_token_id = self._own.eos_token_id
        config.stop_token_ids = self._own.stop_token_ids
        return config

    def _call(self, prompt: str, images: Sequence[Picture], config: Any, streamer: Any) -> Any:
        more: dict[str, Any] = {"streamer": streamer} if streamer is not None else {}
        if images:
            more["images"] = [_tensor(picture) for picture in images]
        return self._pipeline.generate(prompt, generation_config=config, **more)


class _Streamer(genai.StreamerBase):  # type: ignore[misc]
    """What the pipeline calls with every token: text goes out, and word that it may stop back."""

    def __init__(self, show: Show, tokenizer: Any, waiting: Waiting, write: Write) -> None:
        super().__init__()
        self._show, self._tokenizer, self._waiting, self._write = show, tokenizer, waiting, write
        self._stream = TextStream(_NO_WORDS, show.stop)
        self._tokens: list[int] = []
        self._shown = ""
        self.count = 0

    def write(self, token: int | list[int]) -> Any:
        """Take a token, or some; the pipeline goes on, stops or forgets by what this says."""
        if self._waiting.has_left(self._show.id):
            return genai.StreamingStatus.CANCEL
        tokens = token if isinstance(token, list) else [token]
        self.count += len(tokens)
        self._tokens += tokens
        text = self._stream.push_text(self._new())
        self._write([Output(self._show.id, tokens, text)])
        stopped = self._stream.stopped is not None
        return genai.StreamingStatus.STOP if stopped else genai.StreamingStatus.RUNNING

    def end(self) -> None:
        """Nothing is left to do here: `last` does it."""

    def _new(self, *, final: bool = False) -> str:
        """The text that the tokens since the last time make certain."""
        text: str = self._tokenizer.decode(self._tokens)
        if not final and text.endswith("\ufffd"):
            return ""
        new = text[len(self._shown) :]
        if len(self._tokens) >= _CLEAN and text.endswith("\n"):
            self._tokens, self._shown = [], ""
        else:
            self._shown = text
        return new

    def last(self, size: int, done: Any, *, full: bool) -> list[FromEngine]:
        """The end of the answer. `full` is whether the window, not the caller, bounded it."""
        rest = ""
        if self._stream.stopped is None:
            rest = self._stream.push_text(self._new(final=True)) + self._stream.finish()
        length = genai.GenerationFinishReason.LENGTH in done.finish_reasons
        reason: Reason = "end_turn"
        if self._waiting.has_left(self._show.id):
            reason = "cancelled"
        elif self._stream.stopped is not None:
            reason = "stop_sequence"
        elif length:
            reason = "window" if full else "max_tokens"
        ended = _finished(self._show.id, reason, size, self.count, stop=self._stream.stopped)
        return [Output(self._show.id, [], rest), ended] if rest else [ended]


def _finished(
    id_: str,
    reason: Reason,
    prompt: int,
    output: int,
    *,
    stop: str | None = None,
    error: str | None = None,
) -> Finished:
    return Finished(
        id=id_,
        reason=reason,
        stop_sequence=stop,
        prompt_tokens=prompt,
        reused_tokens=0,
        output_tokens=output,
        error=error,
    )


def _tensor(picture: Picture) -> ov.Tensor:
    rows = np.frombuffer(picture.pixels, dtype=np.uint8)
    return ov.Tensor(rows.reshape(1, picture.height, picture.width, 3).copy())


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _read_frame(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    body = source.read(size)
    return body if len(body) == size else None


if __name__ == "__main__":
    sys.exit(main())
