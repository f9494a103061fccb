"""Documents and search results of a prompt: in which order they count, and how a model reads one.

Owns the numbers by which citations name them (0-based, each kind for itself, over messages and the
results of tools in them), and the words around their texts. What an image says is written out
before; an image that is still one is no text. Source: "Citations" and "Search results" of the API's
documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from renga.types import (
    AnyBlockParam,
    AnyResultParam,
    ContentSource,
    DocumentParam,
    PlainText,
    Prompt,
    SearchResultParam,
    TextParam,
    ToolResultParam,
)

PICTURE: Final = 50_000
"""Characters that an image or a PDF may hold, where nobody has read it: more than most do."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A document or a search result, the `index`-th of its kind. `path` is where it stands."""

    path: str
    index: int
    block: DocumentParam | SearchResultParam


def sources_of(prompt: Prompt) -> list[Numbered]:
    """The documents and search results of `prompt`, in order."""
    if not any(_holds(block) for message in prompt.messages for block in message.content):
        return []  # nearly always, and quickly
    counting = Counting()
    return [
        Numbered(path, counting.next(block), block)
        for path, block in _blocks(prompt)
        if isinstance(block, DocumentParam | SearchResultParam)
    ]


def _holds(block: AnyBlockParam) -> bool:
    if isinstance(block, ToolResultParam):
        return any(isinstance(inner, DocumentParam | SearchResultParam) for inner in block.content)
    return isinstance(block, DocumentParam | SearchResultParam)


class Counting:
    """Numbers documents and search results, each kind for itself."""

    def __init__(self) -> None:
        self._documents = self._results = 0

    def next(self, block: DocumentParam | SearchResultParam) -> int:
        """The number of a block that comes next, from 0."""
        if isinstance(block, DocumentParam):
            self._documents += 1
            return self._documents - 1
        self._results += 1
        return self._results - 1


def _blocks(prompt: Prompt) -> Iterator[tuple[str, AnyBlockParam | AnyResultParam]]:
    for i, message in enumerate(prompt.messages):
        for j, block in enumerate(message.content):
            path = f"messages.{i}.content.{j}"
            yield path, block
            if isinstance(block, ToolResultParam):
                for k, inner in enumerate(block.content):
                    yield f"{path}.content.{k}", inner


def written(block: DocumentParam | SearchResultParam, index: int) -> str:
    """A document or a search result as a model reads it."""
    if isinstance(block, DocumentParam):
        head = [("title", block.title), ("context", block.context)]
        return _written("document", index, head, _text_of(block))
    head = [("source", block.source), ("title", block.title)]
    return _written("search_result", index, head, _joined(block.content))


def _written(kind: str, index: int, head: list[tuple[str, str | None]], text: str) -> str:
    lines = [f'<{kind} index="{index + 1}">']
    lines += [f"<{name}>{value}</{name}>" for name, value in head if value]
    return "\n".join([*lines, "<content>", text, "</content>", f"</{kind}>"])


def _text_of(document: DocumentParam) -> str:
    match document.source:
        case PlainText(data=text):
            return text
        case ContentSource(content=content):
            return _joined([block for block in content if isinstance(block, TextParam)])
        case _:
            return ""


def _joined(blocks: list[TextParam]) -> str:
    return "\n\n".join(block.text for block in blocks if block.text)


def lengths_of(block: DocumentParam | SearchResultParam) -> Iterator[int]:
    """Characters of the strings in a document or a search result."""
    yield len(block.title or "")
    if isinstance(block, SearchResultParam):
        yield len(block.source)
        yield from (len(inner.text) for inner in block.content)
        return
    yield len(block.context or "")
    match block.source:
        case PlainText(data=text):
            yield len(text)
        case ContentSource(content=content):
            yield from (len(b.text) if isinstance(b, TextParam) else PICTURE for b in content)
        case _:
            yield PICTURE
