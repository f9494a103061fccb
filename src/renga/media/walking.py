"""The images and documents of a request, wherever they stand: found, counted, and put otherwise.

Owns where such blocks can be: in messages, in results of tools, and images in documents too. It
does not know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from renga.types import (
    AnyBlockParam,
    AnyResultParam,
    Base64Pdf,
    ContentSource,
    DocumentParam,
    ImageParam,
    MessageParam,
    Prompt,
    TextParam,
    ToolResultParam,
)

Asked = TypeVar("Asked", bound=Prompt)
Some = TypeVar("Some")

Medium = ImageParam | DocumentParam
Change = Callable[[str, Medium], Awaitable[Medium | TextParam]]
"""What stands in the place of a block, which is at a path such as `messages.0.content.1`."""


def media_of(prompt: Prompt) -> Iterator[tuple[str, Medium]]:
    """Images and documents with their paths, in the order in which they are read.

    Those in a document come behind it.
    """
    for i, message in enumerate(prompt.messages):
        for j, block in enumerate(message.content):
            path = f"messages.{i}.content.{j}"
            if isinstance(block, ToolResultParam):
                for k, inner in enumerate(block.content):
                    yield from _within(f"{path}.content.{k}", inner)
            else:
                yield from _within(path, block)


def _within(path: str, block: AnyBlockParam | AnyResultParam) -> Iterator[tuple[str, Medium]]:
    if isinstance(block, ImageParam | DocumentParam):
        yield path, block
    if isinstance(block, DocumentParam) and isinstance(block.source, ContentSource):
        for k, inner in enumerate(block.source.content):
            if isinstance(inner, ImageParam):
                yield f"{path}.source.content.{k}", inner


def has_media(prompt: Prompt) -> bool:
    """Whether there is an image or a document anywhere."""
    return any(_has(block) for message in prompt.messages for block in message.content)


def _has(block: AnyBlockParam | AnyResultParam) -> bool:
    if isinstance(block, ToolResultParam):
        return any(isinstance(inner, ImageParam | DocumentParam) for inner in block.content)
    return isinstance(block, ImageParam | DocumentParam)


def counted(prompt: Prompt) -> str:
    """How many images and PDFs there are, such as `images=2; documents=1`; empty for none."""
    if not has_media(prompt):
        return ""
    media = [block for _, block in media_of(prompt)]
    counts = {
        "images": sum(isinstance(block, ImageParam) for block in media),
        "documents": sum(isinstance(block.source, Base64Pdf) for block in media),
    }
    return "; ".join(f"{name}={count}" for name, count in counts.items() if count)


async def changed(prompt: Asked, change: Change) -> Asked:
    """`prompt` with `change` made to its images and documents, those in documents first.

    What stands in a document's content is an image or a text, so it is never made a document.
    """
    messages = [
        await _message(f"messages.{i}", message, change)
        for i, message in enumerate(prompt.messages)
    ]
    return prompt.model_copy(update={"messages": messages})


async def _message(path: str, message: MessageParam, change: Change) -> MessageParam:
    if not any(_has(block) for block in message.content):
        return message
    content = await _blocks(f"{path}.content", message.content, change)
    return message.model_copy(update={"content": content})


async def _blocks(path: str, blocks: Sequence[Some], change: Change) -> list[object]:
    return [await _block(f"{path}.{j}", block, change) for j, block in enumerate(blocks)]


async def _block(path: str, block: object, change: Change) -> object:
    match block:
        case ImageParam():
            return await change(path, block)
        case DocumentParam(source=ContentSource(content=content)) if _pictured(content):
            inner = await _blocks(f"{path}.source.content", content, change)
            source = block.source.model_copy(update={"content": inner})
            return await change(path, block.model_copy(update={"source": source}))
        case DocumentParam():
            return await change(path, block)
        case ToolResultParam() if _has(block):
            inner = await _blocks(f"{path}.content", block.content, change)
            return block.model_copy(update={"content": inner})
        case _:
            return block


def _pictured(content: Sequence[object]) -> bool:
    return any(isinstance(inner, ImageParam) for inner in content)
