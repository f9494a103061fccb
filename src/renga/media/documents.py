"""The text of images and documents, read once.

Owns what is read of a PDF (its text layer, and where a page shows something without text, what is
recognized in the drawn page), the limits of pages, and a bounded memory of what was read, by the
content: a conversation sends its images again with every turn, and must find the same bytes for
them. What cannot be read is an InvalidRequest that names the block. It knows no backends.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from typing import Any, Final, Generic, TypeVar

from renga.errors import InvalidRequest
from renga.media.jobs import (
    Decode,
    Decoded,
    Draw,
    Drawn,
    Job,
    Missing,
    NotDone,
    Outcome,
    PdfRead,
    ReadPdf,
    Recognize,
    Recognized,
)
from renga.media.worker import Bounds, Worker, WorkLost
from renga.types import (
    Base64Image,
    Base64Pdf,
    ContentSource,
    DocumentParam,
    ImageParam,
    PlainText,
    TextParam,
)

MOST_PAGES: Final = 600
_INLINE: Final = 262_144  # characters up to which a digest takes less than a step of a model
MOST_KEPT: Final = 64_000_000  # characters of texts that were read

READING = Bounds(memory=2_000_000_000, job_seconds=60)
RECOGNITION = Bounds(memory=6_000_000_000, job_seconds=180)

Kept = TypeVar("Kept")
Made = TypeVar("Made", bound=Outcome)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a document. `recognized` is whether its text was read from its picture."""

    text: str
    recognized: bool = False


class Documents:
    """Reads images and documents in processes of their own; a Reader for everyone.

    Without `can_recognize`, letters in images stay unread.
    """

    def __init__(
        self,
        *,
        reading: Worker | None = None,
        recognition: Worker | None = None,
        can_recognize: bool | None = None,
    ) -> None:
        self._reading = reading or Worker(READING)
        self._recognition = recognition or Worker(RECOGNITION)
        self.can_recognize = ocr_installed() if can_recognize is None else can_recognize
        self._layers: _Memory[PdfRead] = _Memory()
        self._texts: _Memory[str] = _Memory()

    async def aclose(self) -> None:
        """End the processes. Idempotent."""
        await self._reading.aclose()
        await self._recognition.aclose()

    async def text_of(
        self, document: DocumentParam, path: str = "document", *, recognize: bool = True
    ) -> list[Page]:
        """The pages of a document: of a PDF, its own; of text, one; of content, its blocks.

        Without `recognize`, pages of a PDF that have no text layer are empty. Raises
        InvalidRequest, at `path`, for what cannot be read.
        """
        source = document.source
        match source:
            case PlainText():
                return [Page(source.data)]
            case ContentSource():
                return [
                    await self._block(inner, f"{path}.source.content.{k}")
                    for k, inner in enumerate(source.content)
                ]
            case Base64Pdf():
                with _named(path):
                    return await self._pdf(source, recognize)
            case _:
                raise _unresolved(source, path)

    async def text_in(self, image: ImageParam, path: str = "image") -> str:
        """What stands in an image, laid out. Raises InvalidRequest where it cannot be read."""
        if not isinstance(image.source, Base64Image):
            raise _unresolved(image.source, path)
        with _named(path):
            return await self._recognized(image.source.data, None)

    async def pixels_of(self, image: Base64Image, path: str = "image") -> Decoded:
        """The pixels of an image as a model is shown them. Raises InvalidRequest where broken."""
        with _named(path):
            job = Decode(await _decoded(image.data))
            return await self._ask(self._reading, job, Decoded)

    async def picture_of(self, source: Base64Pdf, path: str, page: int) -> bytes:
        """The page with that index of a PDF, drawn, as a PNG."""
        with _named(path):
            job = Draw(await _decoded(source.data), page)
            return (await self._ask(self._reading, job, Drawn)).png

    async def pages_in(self, source: Base64Pdf, path: str) -> int:
        """How many pages a PDF has. Raises InvalidRequest where it cannot be read."""
        with _named(path):
            return len((await self._layer(source)).texts)

    async def _block(self, block: TextParam | ImageParam, path: str) -> Page:
        if isinstance(block, TextParam):
            return Page(block.text)
        return Page(await self.text_in(block, path), recognized=True)

    async def _pdf(self, source: Base64Pdf, recognize: bool) -> list[Page]:
        layer = await self._layer(source)
        pages = [Page(text) for text in layer.texts]
        for at in layer.drawn if recognize else ():
            pages[at] = Page(await self._recognized(source.data, at), recognized=True)
        return pages

    async def _layer(self, source: Base64Pdf) -> PdfRead:
        async def read() -> PdfRead:
            job = ReadPdf(await _decoded(source.data), MOST_PAGES)
            return await self._ask(self._reading, job, PdfRead)

        return await self._layers.find(await _key(source.data, None), read, _size)

    async def _recognized(self, data: str, page: int | None) -> str:
        async def read() -> str:
            if not self.can_recognize:
                raise _Unread(_cannot(page))
            job = Recognize(await _decoded(data), page)
            return (await self._ask(self._recognition, job, Recognized)).text

        return await self._texts.find(await _key(data, page), read, len)

    async def _ask(self, worker: Worker, job: Job, kind: type[Made]) -> Made:
        try:
            outcome = await worker.ask(job)
        except WorkLost as error:
            raise _Unread(f"{error}; the file is broken or too complex") from error
        if isinstance(outcome, NotDone):
            raise _Unread(outcome.sentence)
        if isinstance(outcome, Missing):
            raise _Unread(f"this server cannot read it; pip install 'renga[{outcome.extra}]'")
        assert isinstance(outcome, kind), f"{type(job).__name__} brought {outcome}"
        return outcome


class _Unread(Exception):
    """Why something cannot be read, whoever asked for it."""


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Tell the caller where what cannot be read stands."""
    try:
        yield
    except _Unread as error:
        raise InvalidRequest(f"{path}.source: {error}") from error


def _unresolved(source: object, path: str) -> InvalidRequest:
    kind = getattr(source, "type", "")
    return InvalidRequest(f"{path}.source: `{kind}` sources cannot be read here")


def ocr_installed() -> bool:
    """Whether the extra `renga[ocr]` is there."""
    return find_spec("rapidocr") is not None and find_spec("PIL") is not None


def _cannot(page: int | None) -> str:
    what = "" if page is None else f"page {page + 1} has no text layer, and "
    return (
        f"{what}images are not read by this model, and no text is read from them for it; "
        "pip install 'renga[ocr]' where the server runs, or ask a model that sees"
    )


async def _decoded(data: str) -> bytes:
    try:
        return await asyncio.to_thread(base64.b64decode, data.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _Unread("the data is not valid base64") from error


async def _key(data: str, page: int | None) -> bytes:
    """What `data` is remembered by; found beside the event loop where it is long."""
    if len(data) <= _INLINE:
        return _digest(data, page)
    return await asyncio.to_thread(_digest, data, page)


def _digest(data: str, page: int | None) -> bytes:
    digest = blake2b(data.encode("utf-8", "surrogatepass"), digest_size=24)
    digest.update(f"/{page}".encode())
    return digest.digest()


def _size(read: PdfRead) -> int:
    return sum(map(len, read.texts)) + 16 * len(read.texts)


class _Memory(Generic[Kept]):
    """What was read of which content, the latest of it; what two want at once is read once."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._held = 0
        self._kept: OrderedDict[bytes, tuple[Kept, int]] = OrderedDict()
        self._coming: dict[bytes, asyncio.Task[Kept]] = {}

    async def find(
        self,
        key: bytes,
        read: Callable[[], Coroutine[Any, Any, Kept]],
        size: Callable[[Kept], int],
    ) -> Kept:
        """What is kept under `key`, or what `read` makes, kept by its `size` in characters."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        task = self._coming.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(key, read, size))
            self._coming[key] = task
            task.add_done_callback(_seen)
        # Whoever leaves does not take it from the others.
        return await asyncio.shield(task)

    async def _read(
        self,
        key: bytes,
        read: Callable[[], Coroutine[Any, Any, Kept]],
        size: Callable[[Kept], int],
    ) -> Kept:
        try:
            made = await read()
        finally:
            del self._coming[key]
        self._kept[key] = made, size(made)
        self._held += size(made)
        while self._held > self._most:
            _, (_, gone) = self._kept.popitem(last=False)
            self._held -= gone
        return made


def _seen(task: asyncio.Task[Any]) -> None:
    """Whoever asked may have left: what went wrong is told to nobody then."""
    if not task.cancelled():
        task.exception()
