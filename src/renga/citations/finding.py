"""Citations of a sentence: the passages of a request's sources, and where each of them is.

Owns the forms of places: characters of a plain text, pages of a PDF, whole blocks of content and of
search results; and that what is cited is a slice of the source at the place that is told, which is
looked up in it and never taken from the answer. Which passages support a sentence is
`renga.citations.matching`'s.

Source: "Citations" and "Search results" of the API's documentation; the docstrings of the official
`anthropic` package, 2.12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from renga.citations.matching import Passage, Passages
from renga.citations.sentences import spans_of
from renga.errors import InvalidRequest
from renga.sources import Numbered, sources_of
from renga.types import (
    Base64Pdf,
    CharLocation,
    Citation,
    ContentBlockLocation,
    ContentSource,
    DocumentParam,
    PageLocation,
    PlainText,
    Prompt,
    SearchResultLocation,
    SearchResultParam,
    TextParam,
)

ReadPages = Callable[[DocumentParam, str], Awaitable[Sequence[str]]]
"""The texts of a PDF's pages; it is given the document and its path."""


class _Source(Protocol):
    """Something that can be cited."""

    about: str

    def passages(self) -> Iterator[str]:
        """Its parts that can be cited, in order."""

    def cite(self, first: int, last: int) -> Citation:
        """The parts from `first` to `last`, which is one of them."""

    def joined(self, first: int, last: int) -> bool:
        """Whether two parts in a row can be cited as one."""


@dataclass(frozen=True)
class _Document:
    """What every place in a document tells of it."""

    index: int
    title: str | None
    file_id: str | None

    def told(self) -> dict[str, object]:
        return {
            "document_index": self.index,
            "document_title": self.title,
            "file_id": self.file_id,
        }


class _Plain:
    """A plain text, cited by characters."""

    def __init__(self, document: _Document, about: str, text: str) -> None:
        self.about = about
        self._document = document
        self._text = text
        self._spans = spans_of(text)

    def passages(self) -> Iterator[str]:
        return (self._text[start:end] for start, end in self._spans)

    def joined(self, first: int, last: int) -> bool:
        return True

    def cite(self, first: int, last: int) -> Citation:
        start, end = self._spans[first][0], self._spans[last][1]
        place = {"start_char_index": start, "end_char_index": end}
        return CharLocation.model_validate(
            {"cited_text": self._text[start:end], **self._document.told(), **place}
        )


class _Pdf:
    """A PDF, cited by pages: (page, start, end) is a sentence on one of them."""

    def __init__(self, document: _Document, about: str, pages: Sequence[str]) -> None:
        self.about = about
        self._document = document
        self._pages = pages
        self._spans = [
            (page, start, end) for page, text in enumerate(pages) for start, end in spans_of(text)
        ]

    def passages(self) -> Iterator[str]:
        return (self._pages[page][start:end] for page, start, end in self._spans)

    def joined(self, first: int, last: int) -> bool:
        return self._spans[first][0] == self._spans[last][0]

    def cite(self, first: int, last: int) -> Citation:
        page, start, _ = self._spans[first]
        _, _, end = self._spans[last]
        place = {"start_page_number": page + 1, "end_page_number": page + 2}
        return PageLocation.model_validate(
            {"cited_text": self._pages[page][start:end], **self._document.told(), **place}
        )


class _Blocks:
    """Blocks of text, cited whole. Their numbers count what stands between them too."""

    def __init__(self, about: str, blocks: Sequence[object]) -> None:
        self.about = about
        self._texts = [b.text if isinstance(b, TextParam) else "" for b in blocks]
        self._cited = [k for k, text in enumerate(self._texts) if text.strip()]

    def passages(self) -> Iterator[str]:
        return (self._texts[k] for k in self._cited)

    def joined(self, first: int, last: int) -> bool:
        return self._cited[last] - self._cited[first] == last - first

    def place(self, first: int, last: int) -> dict[str, object]:
        start, end = self._cited[first], self._cited[last] + 1
        return {
            "cited_text": "".join(self._texts[start:end]),
            "start_block_index": start,
            "end_block_index": end,
        }


class _Content(_Blocks):
    """A document of blocks."""

    def __init__(self, document: _Document, about: str, blocks: Sequence[object]) -> None:
        super().__init__(about, blocks)
        self._document = document

    def cite(self, first: int, last: int) -> Citation:
        told = {**self._document.told(), **self.place(first, last)}
        return ContentBlockLocation.model_validate(told)


class _SearchResult(_Blocks):
    """A search result."""

    def __init__(self, index: int, result: SearchResultParam) -> None:
        super().__init__(result.title, result.content)
        self._index = index
        self._result = result

    def cite(self, first: int, last: int) -> Citation:
        told = {
            "search_result_index": self._index,
            "source": self._result.source,
            "title": self._result.title,
            **self.place(first, last),
        }
        return SearchResultLocation.model_validate(told)


def wants_citations(prompt: Prompt) -> bool:
    """Whether anything in `prompt` is to be cited."""
    return any(_is_cited(found.block) for found in sources_of(prompt))


def _is_cited(block: DocumentParam | SearchResultParam) -> bool:
    return block.citations is not None and block.citations.enabled


class Finder:
    """Finds the citations of an answer's sentences in the sources of one request."""

    def __init__(self, sources: Sequence[_Source], question: str) -> None:
        self._sources = sources
        self._places: list[tuple[int, int]] = []
        passages: list[Passage] = []
        for n, source in enumerate(sources):
            for k, text in enumerate(source.passages()):
                passages.append(Passage(n, text, source.about))
                self._places.append((n, k))
        self._passages = Passages(passages, question)

    @classmethod
    async def over(cls, prompt: Prompt, pages: ReadPages) -> Finder:
        """Over what is to be cited in `prompt`. A PDF that has no text has nothing to cite."""
        read: dict[str, Sequence[str]] = {}
        cited = [found for found in sources_of(prompt) if _is_cited(found.block)]
        for found in cited:
            block = found.block
            if isinstance(block, DocumentParam) and isinstance(block.source, Base64Pdf):
                try:
                    read[found.path] = await pages(block, found.path)
                except InvalidRequest:
                    read[found.path] = ()
        question = _question(prompt)
        # Long documents take a while to cut; the others should not wait for it.
        return await asyncio.to_thread(
            lambda: cls([_source(found, read.get(found.path, ())) for found in cited], question)
        )

    def cite(self, sentence: str) -> list[Citation]:
        """What supports `sentence`; parts of a source that follow one another are one citation."""
        runs: list[list[int]] = []  # source, first, last
        for at in self._passages.support(sentence):
            source, part = self._places[at]
            last = runs[-1] if runs else None
            if (
                last is not None
                and last[0] == source
                and last[2] + 1 == part
                and self._sources[source].joined(last[1], part)
            ):
                last[2] = part
            else:
                runs.append([source, part, part])
        return [self._sources[source].cite(first, last) for source, first, last in runs]


def _source(found: Numbered, pages: Sequence[str]) -> _Source:
    block = found.block
    if isinstance(block, SearchResultParam):
        return _SearchResult(found.index, block)
    about = " ".join(text for text in (block.title, block.context) if text)
    document = _Document(found.index, block.title, getattr(block.source, "file_id", None))
    match block.source:
        case PlainText(data=text):
            return _Plain(document, about, text)
        case ContentSource(content=content):
            return _Content(document, about, content)
        case _:
            return _Pdf(document, about, pages)


def _question(prompt: Prompt) -> str:
    """What the user asked last."""
    for message in reversed(prompt.messages):
        if message.role == "user":
            texts = [block.text for block in message.content if isinstance(block, TextParam)]
            if any(text.strip() for text in texts):
                return "\n".join(texts)
    return ""
