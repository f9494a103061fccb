"""Documents and search results as a model reads them, numbered as citations number them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from renga.reading import Result, Text, is_longer, last_read, written_turns
from renga.sources import sources_of
from renga.types import MessagesRequest

MARK: Any = {"type": "ephemeral"}


def plain(text: str, **more: Any) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "source": source, **more}


def found(text: str, **more: Any) -> dict[str, Any]:
    block = {"type": "text", "text": text}
    return {"type": "search_result", "source": "s", "title": "t", "content": [block], **more}


CALL: Any = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}


def asked(*turns: Any) -> MessagesRequest:
    """A conversation whose turns are the user's and the assistant's by turns."""
    messages = [
        {"role": ("user", "assistant")[n % 2], "content": list(turn)}
        for n, turn in enumerate(turns)
    ]
    fields = {"model": "haiku", "max_tokens": 9, "messages": messages}
    return MessagesRequest.model_validate(fields)


def result(*content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(content)}


def test_a_document_is_read_with_its_title_and_context() -> None:
    (turn,) = written_turns(asked([plain("Words.", title="A", context="B", cache_control=MARK)]))
    (text,) = turn.blocks
    assert isinstance(text, Text)
    assert text.text == (
        '<document index="1">\n<title>A</title>\n<context>B</context>\n<content>\nWords.\n'
        "</content>\n</document>"
    )
    assert (text.path, text.control is not None) == ("messages.0.content.0", True)


def test_blocks_of_content_are_paragraphs_and_a_string_is_one() -> None:
    blocks = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    for content, text in ((blocks, "One.\n\nTwo."), ("One.", "One.")):
        document = {"type": "document", "source": {"type": "content", "content": content}}
        (turn,) = written_turns(asked([document]))
        assert isinstance(turn.blocks[0], Text)
        assert f"<content>\n{text}\n</content>" in turn.blocks[0].text


def test_they_are_numbered_each_kind_for_itself_and_read_where_they_stand() -> None:
    prompt = asked(
        [plain("a"), found("b"), plain("c")], [CALL], [result(found("d"), found("e")), plain("f")]
    )
    numbered = [(source.path, source.block.type, source.index) for source in sources_of(prompt)]
    assert numbered == [
        ("messages.0.content.0", "document", 0),
        ("messages.0.content.1", "search_result", 0),
        ("messages.0.content.2", "document", 1),
        ("messages.2.content.0.content.0", "search_result", 1),
        ("messages.2.content.0.content.1", "search_result", 2),
        ("messages.2.content.1", "document", 2),
    ]
    heads = [
        block.text.splitlines()[0]
        for turn in written_turns(prompt)
        for block in turn.blocks
        if isinstance(block, Text | Result)
    ]
    assert heads == [
        f'<{kind} index="{n + 1}">' for kind, n in ((source[1], source[2]) for source in numbered)
    ]


def test_the_last_thing_read_may_be_a_document() -> None:
    last = last_read(asked([{"type": "text", "text": "x"}, plain("", cache_control=MARK)]))
    assert last is not None
    assert (last[0], last[1] is not None) == ("messages.0.content.1", True)


@given(st.text(max_size=50), st.text(max_size=50))
def test_they_count_for_the_length_of_a_prompt(one: str, other: str) -> None:
    prompt = asked([plain(one, title="A"), found(other)], [CALL], [result(plain(one))])
    length = len(one) * 2 + len(other) + len("A") + len("s") + len("t") + len("find")
    assert is_longer(prompt, length - len("find") - 1, 0)
    assert not is_longer(prompt, length, 0)
