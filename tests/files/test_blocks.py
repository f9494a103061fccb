"""Files as the sources of blocks: read for their owner alone, while their time lasts."""

from __future__ import annotations

import base64

import pytest

from renga.caller import Caller
from renga.errors import InvalidRequest, NotFound
from renga.files.blocks import LARGEST, FileSources
from renga.types import (
    Base64Image,
    DocumentParam,
    FiledPdf,
    FiledText,
    FileSource,
    ImageParam,
)
from tests.files.test_kinds import PDF, PNG
from tests.files.test_library import Shelf, shelf

__all__ = ["shelf"]  # the fixture
ME = Caller("w", "req_1")


def document(file_id: str) -> DocumentParam:
    return DocumentParam(source=FileSource(file_id=file_id))


async def test_a_file_becomes_what_its_block_is_for(shelf: Shelf) -> None:
    sources = FileSources(shelf.files)
    pdf, text, png = [await shelf.put(data) for data in (PDF, "\ufeffgrün".encode(), PNG)]
    read = await sources.resolve(document(pdf.file_id), "p", ME)
    assert isinstance(read, FiledPdf)
    assert (base64.b64decode(read.data), read.file_id) == (PDF, pdf.file_id)
    assert await sources.resolve(document(text.file_id), "p", ME) == FiledText(
        media_type="text/plain", data="grün", file_id=text.file_id
    )
    image = await sources.resolve(ImageParam(source=FileSource(file_id=png.file_id)), "p", ME)
    assert image == Base64Image(media_type="image/png", data=base64.b64encode(PNG).decode())


async def test_what_cannot_be_had_is_told_with_its_path(shelf: Shelf) -> None:
    sources = FileSources(shelf.files)
    made = await shelf.put(life=3600)
    for file_id, caller in (("file_x", ME), (made.file_id, Caller("other", "req_2"))):
        with pytest.raises(NotFound, match=rf"^p\.source\.file_id: File not found: {file_id}$"):
            await sources.resolve(document(file_id), "p", caller)
    shelf.clock.now = made.expires_at or 0
    with pytest.raises(NotFound, match=r"^p\.source\.file_id: File expired") as raised:
        await sources.resolve(document(made.file_id), "p", ME)
    assert raised.value.code == "file_expired"


async def test_a_file_that_no_request_can_hold_is_refused(shelf: Shelf) -> None:
    made = await shelf.put(b"x" * (LARGEST + 1))
    told = rf"^p\.source\.file_id: {made.file_id} has {LARGEST + 1:,} bytes; accepted here"
    with pytest.raises(InvalidRequest, match=told):
        await FileSources(shelf.files).resolve(document(made.file_id), "p", ME)
