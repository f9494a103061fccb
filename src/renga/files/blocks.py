"""Uploaded files as the sources of images and documents.

Owns what a file may stand for: an image where it is one, a PDF or a text where a document is asked
for. Limits on what a request may hold are held elsewhere, as for content that came with it.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

from renga.caller import Caller
from renga.errors import InvalidRequest, NotFound
from renga.files.kinds import is_text
from renga.files.library import Files, StoredFile
from renga.types import Base64Image, DocumentParam, FiledPdf, FiledText, FileSource, ImageParam

LARGEST: Final = 32_000_000
"""Bytes of a file that a request can hold, as of the request itself."""
IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF: Final = "application/pdf"


class FileSources:
    """Resolves sources of type `file` over the files of one server."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def resolve(
        self, block: ImageParam | DocumentParam, path: str, caller: Caller
    ) -> Base64Image | FiledPdf | FiledText:
        """The content of the file that `block` names.

        Raises:
            NotFound: there is no such file for the caller, or its time is over.
            InvalidRequest: it is nothing that such a block may hold, or too large.
        """
        assert isinstance(block.source, FileSource), f"{path} names no file"
        file_id, at = block.source.file_id, f"{path}.source.file_id"
        try:
            known = await self._files.get(caller.workspace, file_id)
            _check_kind(block, known, at)
            known, data = await self._files.read(caller.workspace, file_id, LARGEST)
        except NotFound as error:
            raise NotFound(f"{at}: {error.message}", code=error.code) from error
        except InvalidRequest as error:
            told = error.message if error.message.startswith(at) else f"{at}: {error.message}"
            raise InvalidRequest(told, code=error.code) from error
        if isinstance(block, DocumentParam) and known.mime_type != PDF:
            text = await asyncio.to_thread(data.decode, "utf-8-sig")
            return FiledText(media_type="text/plain", data=text, file_id=file_id)
        written: Any = (await asyncio.to_thread(base64.b64encode, data)).decode("ascii")
        if isinstance(block, DocumentParam):
            return FiledPdf(media_type="application/pdf", data=written, file_id=file_id)
        return Base64Image.model_validate({"media_type": known.mime_type, "data": written})


def _check_kind(block: ImageParam | DocumentParam, file: StoredFile, at: str) -> None:
    """Raise InvalidRequest where a file is not what its block is for."""
    kind = file.mime_type
    if isinstance(block, ImageParam):
        if kind not in IMAGES:
            fitting = " (a `document` block can hold it)" if kind == PDF or is_text(kind) else ""
            raise InvalidRequest(
                f"{at}: {file.file_id} is of type {kind}{fitting}; accepted in an `image` block: "
                + ", ".join(IMAGES)
            )
    elif kind != PDF and not is_text(kind):
        fitting = " (an `image` block can hold it)" if kind in IMAGES else ""
        raise InvalidRequest(
            f"{at}: {file.file_id} is of type {kind}{fitting}; accepted in a `document` block: "
            f"{PDF} and text"
        )
    elif not file.size_bytes:
        raise InvalidRequest(f"{at}: {file.file_id} is empty")
