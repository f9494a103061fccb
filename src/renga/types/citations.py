"""Citations: which part of a document or of a search result a text rests on.

Owns the forms of a place in a source. They are the same in an answer and in a conversation that
brings an answer back; finding them is `renga.citations`'s.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from renga.types.wire import Wire, known_types

Index = Annotated[int, Field(ge=0)]


class CharLocation(Wire):
    """Characters of a plain text, from `start_char_index` (0-based) to before `end_char_index`."""

    type: Literal["char_location"] = "char_location"
    cited_text: str
    document_index: Index
    document_title: str | None = None
    file_id: str | None = None
    start_char_index: Index
    end_char_index: Index


class PageLocation(Wire):
    """Pages of a PDF, from `start_page_number` (1-based) to before `end_page_number`."""

    type: Literal["page_location"] = "page_location"
    cited_text: str
    document_index: Index
    document_title: str | None = None
    file_id: str | None = None
    start_page_number: Index
    end_page_number: Index


class ContentBlockLocation(Wire):
    """Whole blocks of a document, from `start_block_index` (0-based) to before the end."""

    type: Literal["content_block_location"] = "content_block_location"
    cited_text: str
    document_index: Index
    document_title: str | None = None
    file_id: str | None = None
    start_block_index: Index
    end_block_index: Index


class SearchResultLocation(Wire):
    """Whole blocks of a search result; results are counted for themselves."""

    type: Literal["search_result_location"] = "search_result_location"
    cited_text: str
    search_result_index: Index
    source: str
    title: str | None = None
    start_block_index: Index
    end_block_index: Index


class WebSearchResultLocation(Wire):
    """A web page that another server had searched for; it comes back in conversations alone."""

    type: Literal["web_search_result_location"] = "web_search_result_location"
    cited_text: str
    encrypted_index: str
    title: str | None = None
    url: str


CITATIONS = (
    "char_location",
    "page_location",
    "content_block_location",
    "search_result_location",
    "web_search_result_location",
)
Citation = Annotated[
    CharLocation
    | PageLocation
    | ContentBlockLocation
    | SearchResultLocation
    | WebSearchResultLocation,
    Discriminator("type"),
]
CitationParam = Annotated[Citation, known_types("citation", CITATIONS, {})]
