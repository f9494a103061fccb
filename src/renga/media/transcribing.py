"""A backend that reads what it cannot see: around another, images and documents become text.

Owns what stands in a prompt for an image, and for a PDF whichever backend reads it: its pages, each
with its number, as their text and, for a backend that sees, their pictures before it. What is
counted is what is read: both go through the same change. It does not read anything itself
(`documents`), and writes nothing that is a control token (`chat.render` sees to that for all text).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from renga.backends.base import Attempt, Backend, Capabilities, Health
from renga.events import Event
from renga.media.documents import Documents, Page
from renga.media.walking import Medium, changed, has_media
from renga.types import (
    Base64Image,
    Base64Pdf,
    ContentSource,
    DocumentParam,
    ImageParam,
    Likelihood,
    MessagesRequest,
    Prompt,
    ScoreRequest,
    TextParam,
)

Asked = TypeVar("Asked", bound=Prompt)


class Transcribing:
    """A backend around `inner`."""

    def __init__(self, inner: Backend, documents: Documents) -> None:
        self.name = inner.name
        self.kind = inner.kind
        self._inner = inner
        self._documents = documents
        # What it was made of, and what came of it: it is asked for several times a request.
        self._able: tuple[Capabilities, Capabilities] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Those of the inner one; images too, where their text can be read to it."""
        able = self._inner.capabilities
        if able.images:
            return able
        if self._able is None or self._able[0] is not able:
            read = replace(able, images=self._documents.can_recognize, transcribes=True)
            self._able = able, read
        return self._able[1]

    async def start(self) -> None:
        await self._inner.start()

    async def aclose(self) -> None:
        await self._inner.aclose()

    def health(self) -> Health:
        return self._inner.health()

    async def count_tokens(self, request: Prompt) -> int:
        return await self._inner.count_tokens(await self._read(request))

    def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The inner one's answer to what can be read of `request`."""
        if has_media(request):
            return self._answer(request, attempt)
        return self._inner.stream(request, attempt)

    async def _answer(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        answer = self._inner.stream(await self._read(request), attempt)
        async with aclosing(answer) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        return await self._inner.score(await self._read(request), attempt)

    async def _read(self, request: Asked) -> Asked:
        if not has_media(request):
            return request
        sees = self._inner.capabilities.images

        async def put(path: str, block: Medium) -> Medium | TextParam:
            if isinstance(block, ImageParam):
                return block if sees else await self._transcript(path, block)
            return await self._opened(path, block, sees)

        return await changed(request, put)

    async def _transcript(self, path: str, image: ImageParam) -> TextParam:
        text = transcript(await self._documents.text_in(image, path))
        return TextParam(text=text, cache_control=image.cache_control)

    async def _opened(self, path: str, document: DocumentParam, sees: bool) -> DocumentParam:
        """A document whose content is texts, and images for a backend that sees.

        A PDF stays one for a backend that reads them itself.
        """
        source = document.source
        if not isinstance(source, Base64Pdf) or self._inner.capabilities.pdfs:
            return document
        pages = await self._documents.text_of(document, path, recognize=not sees)
        content: list[TextParam | ImageParam] = []
        for at, page in enumerate(pages):
            if sees:
                content.append(await self._drawn(source, path, at))
            content.append(TextParam(text=page_of(page, at, len(pages))))
        return document.model_copy(update={"source": ContentSource(content=content)})

    async def _drawn(self, source: Base64Pdf, path: str, at: int) -> ImageParam:
        picture = await self._documents.picture_of(source, path, at)
        data = (await asyncio.to_thread(base64.b64encode, picture)).decode("ascii")
        return ImageParam(source=Base64Image(media_type="image/png", data=data))


def transcript(text: str) -> str:
    """What stands in a prompt for an image whose letters say `text`."""
    if not text:
        return "<image_transcript>\n(an image in which no text was found)\n</image_transcript>"
    return f"<image_transcript>\n{text}\n</image_transcript>"


def page_of(page: Page, at: int, count: int) -> str:
    """What stands in a prompt for the page of a PDF with index `at`, of `count`."""
    text = transcript(page.text) if page.recognized else page.text
    return f"[Page {at + 1} of {count}]\n{text}"
