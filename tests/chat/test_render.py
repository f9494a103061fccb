"""Prompts become text and tokens: as `transformers` renders them, and never more than that."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from renga.chat.render import ChatTemplate
from renga.chat.tokenizer import Tokenizer
from renga.errors import InvalidRequest, SetupError
from renga.types import CountRequest, MessagesRequest, Prompt
from tests.tiny_model import SPECIAL, TEMPLATE

# Uses what published templates use: trimming, loop controls, namespaces, JSON, dates, macros.
ORNATE = """\
{%- set ns = namespace(seen=0) -%}
{%- macro turn(role, text) -%}<|im_start|>{{ role }}
{{ text | trim }}{%- endmacro -%}
{%- if messages[0].role == 'system' -%}
    {{- turn('system', messages[0].content) + '<|im_end|>\\n' -}}
{%- else -%}
    {{- '<|im_start|>system\\nIt is ' + strftime_now('%Y') + '. ' + bos_token + '<|im_end|>\\n' -}}
{%- endif -%}
{% for message in messages %}
    {%- if message.role == 'system' -%}{%- continue -%}{%- endif -%}
    {%- set ns.seen = ns.seen + 1 -%}
    {%- if message.role == 'assistant' -%}
        {% generation %}{{ turn('assistant', message.content) }}{% endgeneration %}
    {%- else -%}
        {{- turn(message.role, {'at': ns.seen, 'said': message.content} | tojson) -}}
    {%- endif -%}
    {%- if not loop.last or add_generation_prompt -%}{{ '<|im_end|>\\n' }}{%- endif -%}
{% endfor %}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""

NAMES = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}


def prompt(*messages: tuple[str, Any], **fields: Any) -> Prompt:
    turns = [{"role": role, "content": content} for role, content in messages]
    return CountRequest.model_validate({"model": "haiku", "messages": turns, **fields})


def template(words: Path, source: str = TEMPLATE) -> ChatTemplate:
    tokenizer = Tokenizer.load(words / "tokenizer.json")
    return ChatTemplate(source, tokenizer, special=NAMES)


def oracle(words: Path, source: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(words / "tokenizer.json"), chat_template=source, **NAMES
    )


def said(words: Path, asked: Prompt) -> list[tuple[str, str]]:
    """Role and content of each message that the template is given."""
    messages, _ = template(words).conversation(asked)
    return [(message["role"], message["content"]) for message in messages]


CONVERSATIONS = [
    prompt(("user", "Hello")),
    prompt(("user", "Hello"), system="You are terse."),
    prompt(("user", "Hello"), ("assistant", "Hi."), ("user", "Where is 1234?\n\n  Thanks ")),
    prompt(("user", "Gänse über Zürich 🦊"), ("assistant", "東京"), ("user", "<b>&amp;</b>")),
    prompt(("user", "a\r\nb\tc"), system=[{"type": "text", "text": "One."}]),
]
PREFILLED = [
    prompt(("user", "Name?"), ("assistant", '{"name":')),
    prompt(("user", "im"), ("assistant", "im"), ("user", "im_end"), ("assistant", "im")),
    prompt(("user", "Say <|im_"), ("assistant", "  <|im_"), system="S"),
]


@pytest.mark.parametrize("source", [TEMPLATE, ORNATE], ids=["plain", "ornate"])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_text_and_tokens_equal_those_of_transformers(
    words: Path, source: str, conversation: Prompt
) -> None:
    ours = template(words, source)
    messages, _ = ours.conversation(conversation)
    theirs = oracle(words, source)
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert ours.text(conversation) == expected
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ours.tokens(conversation) == ids


@pytest.mark.parametrize("source", [TEMPLATE, ORNATE], ids=["plain", "ornate"])
@pytest.mark.parametrize("conversation", PREFILLED)
def test_a_final_assistant_turn_is_continued_as_transformers_does(
    words: Path, source: str, conversation: Prompt
) -> None:
    ours = template(words, source)
    messages, _ = ours.conversation(conversation)
    expected = oracle(words, source).apply_chat_template(
        messages, continue_final_message=True, tokenize=False
    )
    assert ours.text(conversation) == expected
    assert expected.endswith(messages[-1]["content"].strip())


def test_consecutive_messages_of_one_role_are_merged(words: Path) -> None:
    merged = prompt(
        ("user", "one"),
        ("user", [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]),
        ("assistant", [{"type": "text", "text": "fo"}, {"type": "text", "text": "ur"}]),
        ("user", "five"),
        system=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    )
    assert said(words, merged) == [
        ("system", "a\n\nb"),
        ("user", "one\n\ntwo\n\nthree"),
        ("assistant", "four"),
        ("user", "five"),
    ]


@pytest.mark.parametrize(
    "head",
    [
        [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=a1b2c;"}],
        [{"type": "text", "text": "X-Anthropic-Billing-Header: a\nx-anthropic-billing-header: b"}],
        [],
    ],
)
def test_bookkeeping_at_the_head_of_the_system_text_is_left_out(
    words: Path, head: list[Any]
) -> None:
    system = [*head, {"type": "text", "text": "Be kind."}]
    assert said(words, prompt(("user", "Hi"), system=system))[0] == ("system", "Be kind.")


def test_bookkeeping_is_left_out_of_a_string_and_only_at_its_head(words: Path) -> None:
    lines = "x-anthropic-billing-header: 1\nBe kind.\nx-anthropic-billing-header: 2"
    kept = said(words, prompt(("user", "Hi"), system=lines))[0]
    assert kept == ("system", "Be kind.\nx-anthropic-billing-header: 2")


@pytest.mark.parametrize("system", ["", "x-anthropic-billing-header: 1", []])
def test_an_empty_system_text_is_no_turn(words: Path, system: Any) -> None:
    assert said(words, prompt(("user", "Hi"), system=system)) == [("user", "Hi")]


def test_an_empty_final_assistant_message_asks_for_nothing(words: Path) -> None:
    ours = template(words)
    assert ours.text(prompt(("user", "Hi"), ("assistant", ""))) == ours.text(prompt(("user", "Hi")))


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([("user", "a"), ("assistant", "b ")], "trailing whitespace"),
        ([("user", "a"), ("assistant", "b\n")], "trailing whitespace"),
        ([("user", "a"), ("assistant", " ")], "cannot be white space"),
        ([("assistant", "")], "cannot be white space"),
    ],
)
def test_a_prefill_that_ends_in_white_space_is_refused(
    words: Path, messages: list[tuple[str, str]], complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^messages: .*{complaint}"):
        template(words).tokens(prompt(*messages))


def control_tokens(ours: ChatTemplate, tokens: list[int]) -> list[int]:
    return [t for t in tokens if t in ours.tokenizer.markers.values()]


pieces = st.sampled_from(
    [*SPECIAL, "<|", "im_end", "|>", "<|im_", "\n", " ", "assistant", "x", "🦊"]
)
hostile = st.lists(pieces, min_size=1, max_size=8).map("".join).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(user=hostile, system=hostile, answer=hostile)
def test_text_that_someone_wrote_never_becomes_a_control_token(
    words: Path, user: str, system: str, answer: str
) -> None:
    ours = template(words)
    plain = prompt(("user", "a"), ("assistant", "b"), ("user", "c"), system="d")
    written = prompt(("user", user), ("assistant", answer), ("user", user), system=system)
    tokens = ours.tokens(written)
    assert control_tokens(ours, tokens) == control_tokens(ours, ours.tokens(plain))
    # Nothing is lost either: decoded, the tokens are the text as the oracle renders it.
    theirs = oracle(words, TEMPLATE)
    messages, _ = ours.conversation(written)
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert ours.text(written) == expected
    assert theirs.decode(tokens, skip_special_tokens=False) == expected


@settings(max_examples=100, deadline=None)
@given(answer=hostile)
def test_a_prefill_never_becomes_a_control_token(words: Path, answer: str) -> None:
    ours, answer = template(words), answer.strip()
    tokens = ours.tokens(prompt(("user", "a"), ("assistant", answer)))
    plain = ours.tokens(prompt(("user", "a"), ("assistant", "b")))
    assert control_tokens(ours, tokens) == control_tokens(ours, plain)


def test_text_that_holds_the_breaker_itself_is_kept(words: Path) -> None:
    ours = template(words)
    text = ours.text(prompt(("user", "\U000f0000<|im_end|>\U000f0001")))
    assert "\U000f0000<|im_end|>\U000f0001" in text


def test_what_a_template_refuses_is_the_callers_fault(words: Path) -> None:
    source = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InvalidRequest, match=r"^messages: .*roles must alternate"):
        template(words, source).text(prompt(("user", "Hi")))


def test_a_template_that_hides_the_prefill_is_the_callers_fault(words: Path) -> None:
    with pytest.raises(InvalidRequest, match="does not show the final assistant message"):
        template(words, "nothing").text(prompt(("user", "Hi"), ("assistant", "x")))


def test_half_a_character_is_the_callers_fault(words: Path) -> None:
    with pytest.raises(InvalidRequest, match="half a character"):
        template(words).tokens(prompt(("user", "a\ud800b")))


def test_half_a_character_of_a_continuation_is_told_by_its_path(words: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^continuations.3: .*half a character"):
        template(words).continuation("a\ud800b", "continuations.3")


def test_templates_cannot_reach_python(words: Path) -> None:
    source = "{{ ''.__class__.__mro__ }}"
    with pytest.raises(InvalidRequest, match="unsafe"):
        template(words, source).text(prompt(("user", "Hi")))


def test_the_date_in_a_template_is_the_clock_that_was_given(words: Path) -> None:
    tokenizer = Tokenizer.load(words / "tokenizer.json")
    clock = datetime(1689, 5, 16)  # noqa: DTZ001 local time, as templates expect
    ours = ChatTemplate("{{ strftime_now('%d %m %Y') }}", tokenizer, now=lambda: clock)
    assert ours.text(prompt(("user", "Hi"))) == "16 05 1689"


def test_a_folder_is_loaded_whole(words: Path) -> None:
    assert ChatTemplate.load(words).text(prompt(("user", "Hi"))).startswith("<|im_start|>user\nHi")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("chat_template.jinja", "{% if %}", "is no chat template"),
        ("tokenizer.json", "{}", "is no tokenizer"),
        ("tokenizer_config.json", "{", "is not JSON"),
    ],
)
def test_a_broken_file_is_named(
    words: Path, tmp_path: Path, file: str, content: str, complaint: str
) -> None:
    for path in words.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_text(content)
    with pytest.raises(SetupError, match=complaint) as caught:
        ChatTemplate.load(tmp_path)
    assert str(tmp_path / file) in caught.value.message
    assert "\n" not in caught.value.message


def test_counting_and_inference_read_the_same_prompt(words: Path) -> None:
    ours = template(words)
    fields: dict[str, Any] = {"model": "haiku", "messages": [{"role": "user", "content": "Hi"}]}
    counted = CountRequest.model_validate(fields)
    asked = MessagesRequest.model_validate({**fields, "max_tokens": 1})
    assert ours.tokens(counted) == ours.tokens(asked)
