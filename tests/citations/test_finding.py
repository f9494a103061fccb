"""Citations: what is cited stands in the source, at the very place that is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.citations.finding import Finder, wants_citations
from renga.errors import InvalidRequest
from renga.types import (
    CharLocation,
    Citation,
    ContentBlockLocation,
    DocumentParam,
    MessagesRequest,
    PageLocation,
    SearchResultLocation,
)

FACTS = (
    "The harbour of Vell was finished in 1871.",
    "Its lighthouse is 42 metres tall.",
    "Ferries to Orm leave at 7:30 every morning.",
    "Dr. Anna Krol was the first keeper of the light.",
    "The old customs house is a museum today.",
)
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
ON: dict[str, Any] = {"citations": {"enabled": True}}


def request(*content: Any, **more: Any) -> MessagesRequest:
    turns = [{"role": "user", "content": [*content, {"type": "text", "text": "And?"}]}]
    return MessagesRequest.model_validate(
        {"model": "haiku", "max_tokens": 9, "messages": turns, **more}
    )


def plain(text: str, **more: Any) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "source": source, **ON, **more}


def content(*blocks: Any, **more: Any) -> dict[str, Any]:
    texts = [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]
    return {"type": "document", "source": {"type": "content", "content": texts}, **ON, **more}


def result(*texts: str, **more: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": text} for text in texts]
    told = {"source": "https://vell.example", "title": "Vell", **ON, **more}
    return {"type": "search_result", "content": blocks, **told}


class Pages:
    """Stands for a reader of PDFs."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    async def __call__(self, document: DocumentParam, path: str) -> Sequence[str]:
        return self._texts


def check(citation: Citation, asked: MessagesRequest, pages: Sequence[str] = ()) -> None:
    """The oracle: look the place up in the request, by the API's rules for places."""
    blocks = [b.model_dump() for m in asked.messages for b in m.content]
    documents = [b for b in blocks if b["type"] == "document"]
    results = [b for b in blocks if b["type"] == "search_result"]
    assert citation.cited_text.strip()
    match citation:
        case CharLocation(start_char_index=start, end_char_index=end):
            data = documents[citation.document_index]["source"]["data"]
            assert citation.cited_text == data[start:end]
        case PageLocation(start_page_number=start, end_page_number=end):
            assert citation.cited_text in "".join(pages[start - 1 : end - 1])
        case ContentBlockLocation(start_block_index=start, end_block_index=end):
            inner = documents[citation.document_index]["source"]["content"][start:end]
            assert citation.cited_text == "".join(block.get("text", "") for block in inner)
        case SearchResultLocation(start_block_index=start, end_block_index=end):
            found = results[citation.search_result_index]
            inner = found["content"][start:end]
            assert citation.cited_text == "".join(block["text"] for block in inner)
            assert (citation.source, citation.title) == (found["source"], found["title"])
        case _:
            raise AssertionError("no server makes such a citation here")
    if not isinstance(citation, SearchResultLocation):
        assert isinstance(citation, CharLocation | PageLocation | ContentBlockLocation)
        assert citation.document_title == documents[citation.document_index]["title"]


async def cite(asked: MessagesRequest, sentence: str, *pages: str) -> list[Citation]:
    finder = await Finder.over(asked, Pages(*pages))
    found = finder.cite(sentence)
    for citation in found:
        check(citation, asked, pages)
    return found


async def test_a_plain_text_is_cited_by_characters() -> None:
    text = f"  {FACTS[0]}\n\n{FACTS[1]} {FACTS[2]}"
    asked = request(plain("Nothing.", title="A"), plain(text, title="B"))
    (found,) = await cite(asked, "The lighthouse is 42 metres tall.")
    assert isinstance(found, CharLocation)
    assert (found.document_index, found.document_title, found.cited_text) == (1, "B", FACTS[1])


async def test_sentences_in_a_row_are_one_citation() -> None:
    asked = request(plain(f"{FACTS[2]} {FACTS[0]} {FACTS[1]} {FACTS[4]}"))
    (found,) = await cite(
        asked, "The harbour of Vell was finished in 1871 and its lighthouse is 42 metres tall."
    )
    assert found.cited_text == f"{FACTS[0]} {FACTS[1]}"


async def test_a_pdf_is_cited_by_pages() -> None:
    asked = request({"type": "document", "source": PDF, "title": "Guide", **ON})
    pages = (f"{FACTS[0]} {FACTS[1]}", "", f"{FACTS[3]}\n{FACTS[4]}")
    (found,) = await cite(asked, "The first keeper of the light was Dr. Anna Krol.", *pages)
    assert isinstance(found, PageLocation)
    assert (found.start_page_number, found.end_page_number) == (3, 4)
    assert found.cited_text == FACTS[3]


async def test_sentences_on_two_pages_are_two_citations() -> None:
    asked = request({"type": "document", "source": PDF, **ON})
    said = "The harbour of Vell was finished in 1871 and its lighthouse is 42 metres tall."
    found = await cite(asked, said, FACTS[0], FACTS[1])
    assert [citation.cited_text for citation in found] == [FACTS[0], FACTS[1]]


async def test_content_is_cited_by_whole_blocks_of_which_images_count() -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    }
    asked = request(content(FACTS[0], image, f"{FACTS[1]} {FACTS[2]}"))
    (found,) = await cite(asked, "Ferries to Orm leave at 7:30 every morning.")
    assert isinstance(found, ContentBlockLocation)
    assert (found.start_block_index, found.end_block_index) == (2, 3)
    assert found.cited_text == f"{FACTS[1]} {FACTS[2]}"


async def test_search_results_are_counted_for_themselves_in_results_of_tools_too() -> None:
    turns = [
        {"role": "user", "content": [plain(FACTS[0]), result(FACTS[1])]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [result(FACTS[2], FACTS[4], source="s", title="t")],
                }
            ],
        },
    ]
    asked = MessagesRequest.model_validate({"model": "haiku", "max_tokens": 9, "messages": turns})
    finder = await Finder.over(asked, Pages())
    (found,) = finder.cite("Today the old customs house is a museum.")
    assert isinstance(found, SearchResultLocation)
    assert (found.search_result_index, found.source, found.title) == (1, "s", "t")
    assert (found.start_block_index, found.end_block_index, found.cited_text) == (1, 2, FACTS[4])


async def test_a_pdf_without_text_is_not_cited() -> None:
    async def unread(document: DocumentParam, path: str) -> Sequence[str]:
        raise InvalidRequest(f"{path}: nothing to read")

    asked = request({"type": "document", "source": PDF, **ON}, plain(FACTS[0]))
    finder = await Finder.over(asked, unread)
    assert [c.cited_text for c in finder.cite(FACTS[0])] == [FACTS[0]]


def test_only_what_asks_for_citations_has_them() -> None:
    assert wants_citations(request(plain("x")))
    assert not wants_citations(request(plain("x", citations=None)))
    assert not wants_citations(request(plain("x", citations={"enabled": False})))
    assert not wants_citations(request())
    assert wants_citations(request(result("x")))


WORDS = st.sampled_from(
    "harbour tower Vell 42 7:30 light, old. keeper! \n \n\n 1871 ferry – a".split(" ")
)
SOME = st.lists(WORDS, min_size=1, max_size=40).map(" ".join)


@given(
    st.lists(SOME, min_size=1, max_size=4), st.sampled_from(["plain", "content", "result"]), SOME
)
@pytest.mark.parametrize("itself", [True, False])
async def test_whatever_is_said_what_is_cited_stands_there(
    itself: bool, texts: list[str], kind: str, said: str
) -> None:
    made = {
        "plain": lambda: [plain(text, title="T") for text in texts],
        "content": lambda: [content(*texts), content("other", *texts)],
        "result": lambda: [result(*texts), result(*reversed(texts))],
    }[kind]()
    await cite(request(*made), texts[-1] if itself else said)


@given(st.lists(SOME, min_size=1, max_size=3), SOME)
async def test_whatever_a_pdf_holds_what_is_cited_stands_on_its_page(texts: list[str], said: str):
    asked = request({"type": "document", "source": PDF, "title": None, **ON})
    await cite(asked, said, *texts)
    await cite(asked, texts[0], *texts)
