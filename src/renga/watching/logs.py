"""The log: lines on stderr as text or as JSON, written beside the work.

Owns both forms, and that a log nobody reads stops nobody: lines wait in a queue for a thread of
their own, and when too many wait, the newest are left out and counted. Whoever logs puts what
belongs to a line into `extra={"told": {...}}`, plain values by name.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

Form = Literal["text", "json"]

MOST_WAITING: Final = 10_000
LAST_SECONDS: Final = 1.0  # how long the end of a program waits for its last lines

_PLAIN: Final = re.compile(r"[\w.:/@+-]+")


class Text(logging.Formatter):
    """Time, level, words, and what was told as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:<7} {_escaped(record.getMessage())}"
        told = getattr(record, "told", None) or {}
        line += "".join(f" {name}={_shown(value)}" for name, value in told.items())
        return line + _trace(self, record)


class Json(logging.Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "told", None) or {}
        trace = _trace(self, record).strip()
        if trace:
            line["exception"] = trace
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(text: str) -> str:
    """On one line, whatever it is."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _shown(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info else ""


class Lines(logging.Handler):
    """A handler that hands lines to a thread; `write` gets some at a time, `most` may wait."""

    def __init__(self, write: Callable[[str], object], *, most: int = MOST_WAITING) -> None:
        super().__init__()
        self._most = most
        self._write = write
        self._waiting: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="renga-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line; returns at once."""
        if self._waiting.qsize() >= self._most:
            self._lost += 1
            return
        self._waiting.put(record)

    def close(self) -> None:
        """Let what waits be written, for a moment."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(LAST_SECONDS)
        super().close()

    def _run(self) -> None:
        going = True
        while going:
            records = [self._waiting.get()]
            while not self._waiting.empty():
                records.append(self._waiting.get())
            going = None not in records
            text = "".join(f"{self.format(one)}\n" for one in records if one is not None)
            if self._lost:
                lost, self._lost = self._lost, 0
                text += f"{lost} lines of the log were left out: they were not read fast enough\n"
            try:
                self._write(text)
            except (OSError, ValueError):
                going = False  # nobody reads any more


@contextmanager
def logging_to(write: Callable[[str], object], form: Form) -> Iterator[None]:
    """Everything that is logged goes to `write` meanwhile: ours from INFO on, else warnings."""
    handler = Lines(write)
    handler.setFormatter(Json() if form == "json" else Text())
    root, own = logging.getLogger(), logging.getLogger("renga")
    before = own.level
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    try:
        yield
    finally:
        own.setLevel(before)
        root.removeHandler(handler)
        handler.close()
