"""Images and documents through a whole server: what its blind backend is told, and what is refused.

The scripted backend repeats the texts of the last turn, so that an answer shows the transcript.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from renga.backends import make_backend
from renga.caller import Caller
from renga.config import BackendConfig
from renga.errors import InvalidRequest
from renga.media.documents import Documents
from renga.media.resolving import MOST_BROUGHT, MOST_TEXT_BROUGHT, Resolver
from renga.media.transcribing import Transcribing
from renga.types import Base64Pdf, CountRequest, MessagesRequest, PlainText
from tests.http.served import Served, asking, events_of, start
from tests.media.pictures import image_block, pdf, pdf_block, picture, png_header

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

COUNT = "/v1/messages/count_tokens"
HI = {"type": "text", "text": "Read this: "}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        yield await start(stack, tmp_path_factory.mktemp("home"), max_body_mb=64)


def body(*blocks: Any, **more: Any) -> dict[str, Any]:
    return asking() | {"messages": [{"role": "user", "content": [HI, *blocks]}], **more}


def text_of(answer: Any) -> str:
    return "".join(block["text"] for block in answer.json()["content"])


async def counted(served: Served, sent: dict[str, Any]) -> int:
    asked = {name: sent[name] for name in ("model", "messages", "tools") if name in sent}
    answer = await served.post(asked, path=COUNT)
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["input_tokens"]
    return count


# --- what is read ---------------------------------------------------------------------------------


async def test_an_image_is_read_as_its_text_and_the_answer_says_so(served: Served) -> None:
    sent = body(image_block(picture("Invoice 4711")))
    answer = await served.post(sent)
    assert text_of(answer) == ("Read this: <image_transcript>\nInvoice 4711\n</image_transcript>")
    assert answer.headers["renga-transcribed"] == "images=1"
    assert answer.json()["usage"]["input_tokens"] == await counted(served, sent)


async def test_every_format_is_read_and_a_stream_says_so_too(served: Served) -> None:
    blocks = [
        image_block(picture(f"format {kind}", kind=kind), f"image/{kind.lower()}")
        for kind in ("JPEG", "GIF", "WEBP")
    ]
    blocks.append(image_block(picture("see through", mode="RGBA")))
    answer = await served.post(body(*blocks, stream=True, max_tokens=500))
    assert answer.headers["renga-transcribed"] == "images=4"
    deltas = [data["delta"] for name, data in events_of(answer.text) if name.endswith("_delta")]
    said = "".join(delta.get("text", "") for delta in deltas)
    for words in ("format JPEG", "format GIF", "format WEBP", "see through"):
        assert f"<image_transcript>\n{words}\n</image_transcript>" in said


async def test_an_image_in_a_result_is_read(served: Served) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [image_block(picture("Gate B12"))],
    }
    sent = asking() | {
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "where?"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ],
    }
    answer = await served.post(sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["renga-transcribed"] == "images=1"
    without = json.loads(json.dumps(sent))
    del without["messages"][2]["content"][0]["content"]
    more = len("<image_transcript>\nGate B12\n</image_transcript>") / 4
    assert await counted(served, sent) - await counted(served, without) >= more - 1


async def test_the_pages_of_a_pdf_are_read_and_scanned_ones_recognized(served: Served) -> None:
    scanned = picture("Scanned 90210", kind="JPEG")
    data = pdf("First page (one)\nsecond line", scanned, None)
    documents = Documents()
    try:
        asked = MessagesRequest.model_validate(body(pdf_block(data)))
        block: Any = asked.messages[0].content[1]
        pages = await documents.text_of(block)
    finally:
        await documents.aclose()
    assert [page.text for page in pages] == ["First page (one)\nsecond line", "Scanned 90210", ""]
    assert [page.recognized for page in pages] == [False, True, False]
    answer = await served.post(asked.model_dump(mode="json", exclude_none=True))
    assert answer.headers["renga-transcribed"] == "documents=1"


async def test_a_document_of_texts_and_images_is_read(served: Served) -> None:
    content = [{"type": "text", "text": "one"}, image_block(picture("two 22"))]
    source = {"type": "content", "content": content}
    sent = body({"type": "document", "source": source, "title": "Mixed"})
    answer = await served.post(sent)
    assert answer.headers["renga-transcribed"] == "images=1"
    assert await counted(served, sent) > len("<image_transcript>") // 4


async def test_text_alone_says_nothing_of_transcripts(served: Served) -> None:
    answer = await served.post(asking())
    assert "renga-transcribed" not in answer.headers


async def test_a_mark_may_stand_on_an_image(served: Served) -> None:
    marked = image_block(picture("Marked"), cache_control={"type": "ephemeral"})
    answer = await served.post(body(marked))
    assert answer.status_code == 200, answer.text


async def test_models_say_that_they_take_images_and_pdfs(served: Served) -> None:
    model = (await served.client.get("/v1/models/haiku")).json()
    assert model["capabilities"]["image_input"] == {"supported": True}
    assert model["capabilities"]["pdf_input"] == {"supported": True}


# --- what is refused ------------------------------------------------------------------------------

PNG = picture("x", size=(60, 40))
AT = "messages.0.content.1"


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "hello")
    return out.getvalue()


def named(*blocks: Any) -> list[Any]:
    return list(blocks)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'
REFUSED: dict[str, tuple[list[Any], tuple[str, ...]]] = {
    "100,000 pixels": (named(image_block(png_header(100_000, 100_000))), (AT, "100000 x 100000")),
    "one side of 8,001": (named(image_block(png_header(8_001, 1))), (AT, "8001 x 1", "8000")),
    "a header without an image": (named(image_block(png_header(64, 64)[:40])), (AT, "not the")),
    "half an image": (named(image_block(PNG[: len(PNG) // 2])), (f"{AT}.source", "broken")),
    "a header that lies": (named(image_block(png_header(4_000, 4_000))), (AT, "broken")),
    "an SVG": (named(image_block(SVG)), (f"{AT}.source.data", "SVG", "image/png")),
    "a web page": (named(image_block(b"<html><body>hi")), (AT, "web page")),
    "nothing": (named(image_block(b"")), (AT, "empty")),
    "a BMP": (named(image_block(picture("x", kind="BMP"))), (AT, "a BMP image")),
    "a TIFF": (named(image_block(picture("x", kind="TIFF"))), (AT, "a TIFF image")),
    "another type than said": (
        named(image_block(PNG, "image/jpeg")),
        (f"{AT}.source.media_type", "image/jpeg", "image/png"),
    ),
    "a type of no image": (
        named(image_block(PNG, "image/svg+xml")),
        (f"{AT}.source.media_type", "'image/jpeg'"),
    ),
    "an image and a ZIP": (named(image_block(PNG + zipped())), (AT, "ZIP", "at once")),
    "an image and a PDF": (
        named(image_block(PNG[:8] + b"%PDF-1.4" + PNG[8:])),
        (AT,),
    ),
    "an image and a program": (
        named(image_block(b"GIF89a\x10\0\x10\0\0\0\0<script>1</script>", "image/gif")),
        (AT, "at once"),
    ),
    "a GIF that is JavaScript": (
        named(image_block(b"GIF89a/*" + b"\0" * 10 + b"*/=1;alert(1)", "image/gif")),
        (f"{AT}.source.data", "gif header", "broken"),
    ),
    "no base64": (
        named({"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                           "data": "data:image/png;base64,AAAA"}}),
        (f"{AT}.source.data", "not valid base64", "comma"),
    ),
    "over 10 MB": (
        named(image_block(PNG + b"\0" * 7_600_000)),
        (f"{AT}.source.data", "10 MB maximum"),
    ),
    "101 images": (
        [image_block(PNG)] * 101,
        ("messages.0.content.101", "100 images"),
    ),
    "large ones among many": (
        [image_block(png_header(2_001, 10)), *[image_block(PNG)] * 20],
        (AT, "2001 x 10", "2000", "more than 20"),
    ),
    "one that must not be scaled down": (
        named(image_block(png_header(3_136, 28), transformations={"oversized_image": "error"})),
        (AT, "3136 x 28", "1568 x 14"),
    ),
    "an encrypted PDF": (named(pdf_block(pdf("x", encrypted=True))), (AT, "encrypted")),
    "a broken PDF": (named(pdf_block(b"%PDF-1.7\nnothing else")), (AT, "broken")),
    "an image as a PDF": (named(pdf_block(PNG)), (AT, "image/png is not application/pdf")),
    "a PDF of 101 pages": (named(pdf_block(pdf(*[None] * 101))), (AT, "100 pages", "101")),
    "a PDF of 10,000 pages": (named(pdf_block(pdf(*[None] * 10_000))), (AT, "10000 pages")),
    "a PDF and a ZIP": (named(pdf_block(pdf("x") + zipped())), (AT, "PDF and a ZIP", "at once")),
    "a URL": (
        named({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}),
        (f"{AT}.source.url", "fetches nothing", "[media] fetch_from"),
    ),
    "a source of no kind": (
        named({"type": "image", "source": {"type": "disk", "path": "/etc/passwd"}}),
        (f"{AT}.source", "'disk'", "base64, url, file"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_at_its_place_and_the_server_goes_on(served: Served, name: str) -> None:
    blocks, says = REFUSED[name]
    answer = await served.post(body(*blocks))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(says[0]), error["message"]
    for words in says[1:]:
        assert words in error["message"]
    assert (await served.post(asking())).status_code == 200


async def test_a_source_that_cannot_be_had_is_refused_in_the_ledger(served: Served) -> None:
    url = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    row = await served.row(await served.post(body(url)))
    assert (row.status, row.error_type) == ("refused", "invalid_request_error")
    assert row.attempts == ()


async def test_all_images_that_are_too_large_are_named(served: Served) -> None:
    large = image_block(png_header(9_000, 10))
    answer = await served.post(body(image_block(PNG), large, large))
    assert answer.json()["error"]["details"] == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8_000,
        "paths": ["messages.0.content.2", "messages.0.content.3"],
    }


@pytest.mark.parametrize("role", ["assistant", "system"])
async def test_only_users_show_images(served: Served, role: str) -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": role, "content": [image_block(PNG)]},
    ]
    answer = await served.post(asking() | {"messages": turns})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("messages.1.content.0")


async def test_without_the_extra_an_image_is_refused_by_name_and_a_pdf_is_read() -> None:
    inner: Any = served_backend()
    documents = Documents(can_recognize=False)
    blind = Transcribing(inner, documents)
    try:
        asked = CountRequest.model_validate(
            {"model": "haiku", "messages": body(image_block(PNG))["messages"]}
        )
        assert blind.capabilities.missing_for(asked) == AT
        with pytest.raises(Exception, match=rf"^{AT}.*pip install 'renga\[ocr\]'"):
            await blind.count_tokens(asked)
        paged = asked.model_validate(
            {"model": "haiku", "messages": body(pdf_block(pdf("words")))["messages"]}
        )
        assert await blind.count_tokens(paged) > 3
        scanned = asked.model_validate(
            {
                "model": "haiku",
                "messages": body(pdf_block(pdf("a", picture("b", kind="JPEG"))))["messages"],
            }
        )
        with pytest.raises(Exception, match=rf"^{AT}.*page 2 .*pip install 'renga\[ocr\]'"):
            await blind.count_tokens(scanned)
    finally:
        await documents.aclose()


async def test_a_request_is_resolved_to_what_it_was_where_nothing_is_to_be_done() -> None:
    documents = Documents()
    asked = MessagesRequest.model_validate(asking())
    caller = Caller(workspace="w", request_id="r")
    assert await Resolver(documents).resolve(asked, caller, window=1) is asked
    await documents.aclose()


def served_backend() -> Any:
    return make_backend(BackendConfig("b", "scripted"), home=Path("unused"))


@pytest.mark.parametrize("kind", ["text", "pdf"])
async def test_a_few_bytes_cannot_bring_more_than_a_request_may_hold(kind: str) -> None:
    most = MOST_TEXT_BROUGHT if kind == "text" else MOST_BROUGHT
    page = base64.b64encode(pdf("a")).decode()
    read: list[str] = []

    async def filed(block: Any, path: str, caller: Caller) -> Any:
        read.append(path)
        if kind == "text":
            return PlainText(media_type="text/plain", data="x" * (most // 4))
        return Base64Pdf(media_type="application/pdf", data=page + " " * (most // 4 - len(page)))

    block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    asked = MessagesRequest.model_validate(body(*[block] * 500))
    caller = Caller(workspace="w", request_id="r")
    told = rf"messages\.0\.content\.5\.source: .*more than {most:,} characters"
    with pytest.raises(InvalidRequest, match=told):
        await Resolver(Paged(), {"file": filed}).resolve(asked, caller, window=1_000_000)
    assert len(read) == 5


class Paged(Documents):
    """Documents of one page each, whatever they hold."""

    async def pages_in(self, source: Base64Pdf, path: str) -> int:
        return 1
