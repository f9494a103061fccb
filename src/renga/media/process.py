"""A process that reads images and documents: `python -m renga.media.process`.

Jobs come by stdin, outcomes go out by stdout, one at a time; it leaves when its parent's pipe
closes. Owned rules: its memory is bounded before anything is read, so that a hostile file ends
this process and no other; nothing but frames is written to the pipe, whatever a library prints.
How long a job may take, its parent knows.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import BinaryIO

from renga.media import recognition, rendering
from renga.media.formats import NotReadable
from renga.media.jobs import (
    LENGTH_BYTES,
    Decode,
    Draw,
    Job,
    Missing,
    NotDone,
    Outcome,
    ReadPdf,
    Recognize,
    WorkSettings,
    frame,
    read_job,
    read_settings,
)


def main() -> int:
    """Do what is asked until the pipe closes."""
    # Signals of the terminal go to the whole group; the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source = os.fdopen(os.dup(0), "rb")
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    first = _read_frame(source)
    if first is None:
        return 0
    settings = read_settings(first)
    _bound(settings.memory)
    while (body := _read_frame(source)) is not None:
        try:
            pipe.write(frame(outcome_of(read_job(body), settings)))
            pipe.flush()
        except BrokenPipeError:
            break
    return 0


def outcome_of(job: Job, settings: WorkSettings) -> Outcome:
    """What comes of a job."""
    try:
        match job:
            case ReadPdf():
                return rendering.read_pdf(job.data, job.most_pages)
            case Recognize():
                return recognition.recognize(job, settings.threads)
            case Decode():
                return rendering.decode(job)
            case Draw():
                return rendering.draw(job)
    except NotReadable as error:
        return NotDone(str(error))
    except MemoryError:
        return NotDone("reading it takes more memory than one file may")
    except ModuleNotFoundError as error:
        return Missing(rendering.EXTRAS.get((error.name or "").partition(".")[0], "ocr"))


def _bound(memory: int) -> None:
    """Refuse this process more than `memory` bytes of data; where the system knows no such bound
    (macOS), the parent's deadline is what is left.
    """
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (OSError, ValueError) as error:
        print(f"memory cannot be bounded here: {error}", file=sys.stderr)  # noqa: T201


def _read_frame(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    body = source.read(size)
    return body if len(body) == size else None


if __name__ == "__main__":
    sys.exit(main())
