"""What the processes that read images and documents are asked, and what they say back.

A frame is 4 bytes of length, big-endian, and that many bytes of msgpack: first the process's
settings, then one job, then its outcome, and so on. This is the whole vocabulary; it knows neither
pipes nor processes.
"""

from __future__ import annotations

import msgspec

LENGTH_BYTES = 4


class WorkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a process is bounded: `memory` in bytes of its own data, `threads` of recognition."""

    memory: int
    threads: int = 0


class ReadPdf(msgspec.Struct, frozen=True, tag="read_pdf"):
    """The text of every page. A PDF of more than `most_pages` is refused."""

    data: bytes
    most_pages: int


class PdfRead(msgspec.Struct, frozen=True, tag="pdf_read"):
    """Pages in order; `drawn` are indices of pages that show something, but have no text."""

    texts: list[str]
    drawn: list[int]


class Recognize(msgspec.Struct, frozen=True, tag="recognize"):
    """The text that an image shows, or the `page`-th page of a PDF."""

    data: bytes
    page: int | None = None


class Recognized(msgspec.Struct, frozen=True, tag="recognized"):
    """What stands there, laid out with line breaks and spaces; empty where nothing does."""

    text: str


class Decode(msgspec.Struct, frozen=True, tag="decode"):
    """The pixels of an image, scaled to fit what a model is shown."""

    data: bytes


class Decoded(msgspec.Struct, frozen=True, tag="decoded"):
    """Rows of red, green and blue bytes, upright."""

    width: int
    height: int
    pixels: bytes


class Draw(msgspec.Struct, frozen=True, tag="draw"):
    """The picture of the `page`-th page of a PDF, scaled likewise."""

    data: bytes
    page: int


class Drawn(msgspec.Struct, frozen=True, tag="drawn"):
    """The picture as a PNG."""

    png: bytes


class NotDone(msgspec.Struct, frozen=True, tag="not_done"):
    """The data is not what it should be; a sentence for whoever sent it."""

    sentence: str


class Missing(msgspec.Struct, frozen=True, tag="missing"):
    """What the job needs is not installed: the name of the extra."""

    extra: str


Job = ReadPdf | Recognize | Decode | Draw
Outcome = PdfRead | Recognized | Decoded | Drawn | NotDone | Missing

_encoder = msgspec.msgpack.Encoder()
_settings = msgspec.msgpack.Decoder(WorkSettings)
_job: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
_outcome: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)


def frame(message: WorkSettings | Job | Outcome) -> bytes:
    """The bytes of one message on a pipe."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_settings(body: bytes) -> WorkSettings:
    """The first frame to a process."""
    return _settings.decode(body)


def read_job(body: bytes) -> Job:
    """Any later frame to it."""
    return _job.decode(body)


def read_outcome(body: bytes) -> Outcome:
    """A frame from it."""
    return _outcome.decode(body)
