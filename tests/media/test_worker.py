"""The processes that read files: they may die, hang or be left alone, and the server goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from PIL import Image

from renga.errors import InvalidRequest, Overloaded
from renga.media.documents import Documents
from renga.media.jobs import Decode, Decoded, NotDone, PdfRead, ReadPdf
from renga.media.worker import Bounds, Worker, WorkLost
from renga.types import Base64Pdf, DocumentParam
from tests.media.pictures import encoded, pdf, pdf_block, picture

PAGES = ReadPdf(pdf("hello"), 100)
SMALL = Bounds(memory=1_000_000_000, job_seconds=30)
# Programs that take the settings and a job, and then are not what they should be.
HANGS = (sys.executable, "-c", "import time; time.sleep(600)")
DIES = (sys.executable, "-c", "raise SystemExit(3)")


async def test_a_job_is_done_and_the_process_serves_the_next() -> None:
    worker = Worker(SMALL)
    try:
        assert worker.process_id is None
        assert await worker.ask(PAGES) == PdfRead(["hello"], [])
        first = worker.process_id
        found = await worker.ask(Decode(picture("x", size=(30, 20))))
        assert isinstance(found, Decoded)
        assert (found.width, found.height, len(found.pixels)) == (30, 20, 1_800)
        assert worker.process_id == first
    finally:
        await worker.aclose()
    assert worker.process_id is None


async def test_a_job_that_takes_too_long_ends_its_process_alone() -> None:
    worker = Worker(Bounds(memory=SMALL.memory, job_seconds=0.3), HANGS)
    with pytest.raises(WorkLost, match="longer than"):
        await worker.ask(PAGES)
    assert worker.process_id is None
    await worker.aclose()


async def test_a_process_that_dies_is_replaced() -> None:
    worker = Worker(SMALL)
    try:
        await worker.ask(PAGES)
        first = worker.process_id
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(WorkLost, match="died"):
            while True:  # the kill may come behind the next job
                await worker.ask(PAGES)
        assert await worker.ask(PAGES) == PdfRead(["hello"], [])
        assert worker.process_id != first
    finally:
        await worker.aclose()


async def test_a_process_that_never_works_is_told_as_such() -> None:
    worker = Worker(SMALL, DIES)
    documents = Documents(reading=worker)
    try:
        data = pdf_block(pdf("x"))["source"]["data"]
        document = DocumentParam(source=Base64Pdf(media_type="application/pdf", data=data))
        with pytest.raises(InvalidRequest, match=r"^here\.source: the process that read it died"):
            await documents.text_of(document, "here")
    finally:
        await documents.aclose()


async def test_memory_is_bounded_by_the_process() -> None:
    worker = Worker(Bounds(memory=300_000_000, job_seconds=30))
    try:
        large = encoded(picture_of(7_900), "PNG")
        found = await worker.ask(Decode(large))
        assert isinstance(found, NotDone)
        assert "memory" in found.sentence
        assert await worker.ask(PAGES) == PdfRead(["hello"], [])
    finally:
        await worker.aclose()


def picture_of(side: int) -> Image.Image:
    return Image.new("RGB", (side, side), "white")


async def test_whoever_leaves_does_not_end_the_work_of_others() -> None:
    worker = Worker(SMALL)
    try:
        left = asyncio.create_task(worker.ask(PAGES))
        stayed = asyncio.create_task(worker.ask(PAGES))
        await asyncio.sleep(0)
        left.cancel()
        assert await stayed == PdfRead(["hello"], [])
    finally:
        await worker.aclose()


async def test_a_queue_that_is_full_says_so() -> None:
    worker = Worker(Bounds(memory=SMALL.memory, job_seconds=5, waiting=1), HANGS)
    waiting = [asyncio.create_task(worker.ask(PAGES)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await worker.ask(PAGES)
    await worker.aclose()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_process_that_nobody_needs_is_let_go() -> None:
    worker = Worker(Bounds(memory=SMALL.memory, job_seconds=30, idle_seconds=0.05))
    try:
        await worker.ask(PAGES)
        async with asyncio.timeout(20):
            while worker.process_id is not None:
                await asyncio.sleep(0.02)
        assert await worker.ask(PAGES) == PdfRead(["hello"], [])
    finally:
        await worker.aclose()


async def test_what_was_read_once_is_not_read_again() -> None:
    documents = Documents()
    try:
        data = pdf_block(pdf("one", "two"))["source"]["data"]
        document = DocumentParam(source=Base64Pdf(media_type="application/pdf", data=data))
        both = await asyncio.gather(documents.text_of(document), documents.text_of(document))
        assert both[0] == both[1]
        await documents.aclose()  # nothing can be read any more but what is kept
        assert await documents.text_of(document) == both[0]
        assert [page.text for page in both[0]] == ["one", "two"]
    finally:
        await documents.aclose()
