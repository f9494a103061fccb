"""Images and documents made plain: behind this step, what a source names is in the request itself.

Owns the one step of the path that fetches and looks up, the table of who does it for which type of
source, and the API's limits on images and documents, which are held against what the bytes are and
not against what is said of them. What cannot be had, is too much, or is not what it is said to be,
is refused with its path.

Source: "Vision" and "PDF support" of the API's documentation; the error codes of the official
`anthropic` package, 2.12.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from renga.caller import Caller
from renga.errors import InvalidRequest
from renga.media.documents import Documents
from renga.media.formats import (
    LONG_EDGE,
    MANY_IMAGES,
    MOST_BASE64,
    MOST_PDF_BYTES,
    MOST_SIDE,
    MOST_SIDE_OF_MANY,
    Image,
    NotReadable,
    look,
)
from renga.media.walking import Medium, changed, has_media
from renga.types import (
    Base64Image,
    Base64Pdf,
    ContentSource,
    ImageParam,
    PlainText,
    Prompt,
)

Asked = TypeVar("Asked", bound=Prompt)

MOST_MEDIA: Final = 600  # images of a request, and pages
MOST_MEDIA_OF_SMALL: Final = 100
SMALL_WINDOW: Final = 200_000  # tokens up to which a window is small
MOST_BROUGHT: Final = 100_000_000
MOST_TEXT_BROUGHT: Final = 32_000_000
"""Characters that sources may bring into one request beside what came with it; of texts fewer, as
all of those is counted. A few bytes can name much, and the same many times."""

Source = Base64Image | Base64Pdf | PlainText | ContentSource
Resolve = Callable[[Medium, str, Caller], Awaitable[Source]]
"""What a block's source holds. It is given the block, its path and who asks, and raises a
RengaError where there is nothing, or nothing that such a block may hold."""


class Resolver:
    """The step. `table` says who resolves which type of source."""

    def __init__(self, documents: Documents, table: Mapping[str, Resolve] | None = None) -> None:
        self._documents = documents
        self._table = dict(table or {})

    async def resolve(self, request: Asked, caller: Caller, *, window: int) -> Asked:
        """`request` with the content of its images and documents in it, all of it looked at.

        `window` are the tokens of the model that will read it, by which the limits go. Raises
        InvalidRequest for what breaks them, and what the table's functions raise.
        """
        if not has_media(request):
            return request
        most = MOST_MEDIA if window > SMALL_WINDOW else MOST_MEDIA_OF_SMALL
        found = _Found(most)

        async def plain(path: str, block: Medium) -> Medium:
            source = await self._source(path, block, caller)
            if source is not block.source:
                found.brought(path, source)
            if isinstance(source, Base64Image):
                image = await asyncio.to_thread(_checked, source, path)
                found.image(path, block, image)
            elif isinstance(source, Base64Pdf):
                if len(source.data) > MOST_PDF_BYTES * 4 // 3 + 4:
                    raise InvalidRequest(
                        f"{path}.source.data: the PDF is larger than {MOST_PDF_BYTES:,} bytes"
                    )
                found.pages(path, await self._documents.pages_in(source, path))
            return block if source is block.source else block.model_copy(update={"source": source})

        resolved = await changed(request, plain)
        found.check_sides()
        return resolved

    async def _source(self, path: str, block: Medium, caller: Caller) -> Source:
        source = block.source
        if isinstance(source, Base64Image | Base64Pdf | PlainText | ContentSource):
            return source
        resolve = self._table.get(source.type)
        if resolve is None:
            raise InvalidRequest(
                f"{path}.source: `{source.type}` sources are not supported by this server; send "
                "the content itself, as `base64`"
            )
        return await resolve(block, path, caller)


def _checked(source: Base64Image, path: str) -> Image:
    """What an image is. Raises InvalidRequest where it is not as it is said, or too large."""
    at = f"{path}.source.data"
    if len(source.data) > MOST_BASE64:
        raise InvalidRequest(
            f"{at}: image exceeds {MOST_BASE64 // 10**6} MB maximum: {len(source.data):,} bytes > "
            f"{MOST_BASE64:,} bytes"
        )
    try:
        image = look(base64.b64decode(source.data.encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError) as error:
        told = "; it begins with 'data:', send what follows the comma"
        more = told if source.data.startswith("data:") else ""
        raise InvalidRequest(f"{at}: the data is not valid base64{more}") from error
    except NotReadable as error:
        raise InvalidRequest(f"{at}: could not process image: {error}") from error
    if image.media_type != source.media_type:
        raise InvalidRequest(
            f"{path}.source.media_type: the image was specified using the {source.media_type} "
            f"media type, but the image appears to be a {image.media_type} image"
        )
    return image


@dataclass
class _Found:
    """What was found in a request so far; `most` images, and pages of documents, it may hold."""

    most: int
    _images: list[tuple[str, Image]] = field(default_factory=list)
    _pages: int = 0
    _brought: int = 0
    _text_brought: int = 0

    def brought(self, path: str, source: Source) -> None:
        if isinstance(source, ContentSource):
            return
        self._brought += len(source.data)
        if isinstance(source, PlainText):
            self._text_brought += len(source.data)
        for held, most, what in (
            (self._text_brought, MOST_TEXT_BROUGHT, "characters of text"),
            (self._brought, MOST_BROUGHT, "characters"),
        ):
            if held > most:
                raise InvalidRequest(
                    f"{path}.source: with this one, the files and URLs of the request hold more "
                    f"than {most:,} {what}; name fewer of them"
                )

    def image(self, path: str, block: Medium, image: Image) -> None:
        self._images.append((path, image))
        if len(self._images) > self.most:
            raise InvalidRequest(
                f"{path}: a request to this model may hold {self.most} images, this is one more"
            )
        asked = block.transformations if isinstance(block, ImageParam) else None
        if asked is not None and asked.oversized_image == "error" and not image.fits:
            width, height = image.shown
            raise InvalidRequest(
                f"{path}: the image is {image.width} x {image.height} pixels, and "
                f"`transformations.oversized_image` is 'error'; the largest of its shape that fits "
                f"is {width} x {height} (at most {LONG_EDGE} on a side)"
            )

    def pages(self, path: str, count: int) -> None:
        self._pages += count
        if self._pages > self.most:
            raise InvalidRequest(
                f"{path}.source: a request to this model may hold {self.most} pages of PDFs, with "
                f"this document it has {self._pages}"
            )

    def check_sides(self) -> None:
        """Raise InvalidRequest, naming all of them, where images have too many pixels on a side."""
        most = MOST_SIDE_OF_MANY if len(self._images) > MANY_IMAGES else MOST_SIDE
        large = [one for one in self._images if max(one[1].width, one[1].height) > most]
        if not large:
            return
        path, image = large[0]
        many = f" of more than {MANY_IMAGES}" if most == MOST_SIDE_OF_MANY else ""
        raise InvalidRequest(
            f"{path}: the image is {image.width} x {image.height} pixels; at most {most} on a side "
            f"are accepted{many}",
            code="image_dimensions_too_large",
            details={"max_side_length_pixels": most, "paths": [path for path, _ in large]},
        )
