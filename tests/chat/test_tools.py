"""Tools, calls, results and thinking become a prompt by the templates' own convention."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from renga.chat.render import ChatTemplate
from renga.chat.tokenizer import Tokenizer
from renga.conversation import is_prefilled
from renga.errors import InvalidRequest
from renga.types import CountRequest, Prompt
from tests.chat.templates import HERMES, LLAMA, MISTRAL, SHIPPED, TYPED, WITH_TOOLS
from tests.chat.test_render import NAMES, control_tokens, oracle
from tests.tiny_model import MARKS, SPECIAL, TEMPLATE
from training import chat as training

ADD: dict[str, Any] = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "The first."},
            "b": {"type": "integer"},
        },
        "required": ["a", "b"],
    },
}
LOOK: dict[str, Any] = {
    "name": "look_up",
    "input_schema": {"type": "object", "properties": {"key": {"type": "string"}}},
}


def call(id_: str, name: str = "add", **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, content: Any = None, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **fields}


def thought(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": "s"}


def words_of(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def asked(*contents: Any, roles: Sequence[str] = (), **fields: Any) -> Prompt:
    """Messages of user and assistant in alternation, unless `roles` are given."""
    named = roles or ("user", "assistant") * len(contents)
    turns = [{"role": role, "content": c} for role, c in zip(named, contents, strict=False)]
    return CountRequest.model_validate({"model": "haiku", "messages": turns, **fields})


def template(words: Path, source: str = SHIPPED) -> ChatTemplate:
    return ChatTemplate(source, Tokenizer.load(words / "tokenizer.json"), special=NAMES)


SUM = asked(
    "17+25?",
    [thought("Add them."), words_of("Let me see."), call("toolu_1", a=17, b=25)],
    [result("toolu_1", "42"), words_of("And?")],
    system="Be kind.",
    tools=[ADD, LOOK],
    thinking={"type": "adaptive"},
)
TWO = asked(
    "Both?",
    [call("toolu_1", a=1, b=2), call("toolu_2", "look_up", key="ä<b>")],
    [result("toolu_1", [words_of("3"), words_of("!")]), result("toolu_2", "x", is_error=True)],
    tools=[ADD, LOOK],
)
PLAIN = asked("Hi", "Yes?", "Go on", system="Be kind.")


# --- the forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("conversation", [SUM, TWO, PLAIN], ids=["sum", "two", "plain"])
@pytest.mark.parametrize("name", sorted(WITH_TOOLS))
def test_text_equals_that_of_transformers(words: Path, name: str, conversation: Prompt) -> None:
    ours, theirs = template(words, WITH_TOOLS[name]), oracle(words, WITH_TOOLS[name])
    messages, tools = ours.conversation(conversation)
    fields: Any = {"tools": tools or None, "tokenize": False, "add_generation_prompt": True}
    fields["enable_thinking"] = conversation.thinking is not None
    try:
        expected = theirs.apply_chat_template(messages, **fields)
    except TemplateError as refusal:
        assert (name, conversation) == ("llama", TWO)
        with pytest.raises(InvalidRequest, match=f"^messages: .*{refusal}"):
            ours.text(conversation)
    else:
        assert ours.text(conversation) == expected


def function(tool: dict[str, Any]) -> dict[str, Any]:
    described = {"description": tool.get("description", ""), "parameters": tool["input_schema"]}
    return {"name": tool["name"], **described}


def test_the_shipped_form_is_the_one_of_training(words: Path) -> None:
    tools = [function(ADD), function(LOOK)]
    turns = [
        training.Turn("system", "Be kind."),
        training.Turn("user", "17+25?"),
        training.Turn(
            "assistant", "Let me see.", "Add them.", [training.Call("add", {"a": 17, "b": 25})]
        ),
        training.Turn("tool", "42"),
        training.Turn("user", "And?"),
    ]
    assert template(words).text(SUM) == training.render(turns, tools, thinking=True)
    both = [training.Call("add", {"a": 1, "b": 2}), training.Call("look_up", {"key": "ä<b>"})]
    turns = [
        training.Turn("user", "Both?"),
        training.Turn("assistant", "", calls=both),
        training.Turn("tool", "3\n!"),
        training.Turn("tool", "Error: x"),
    ]
    assert template(words).text(TWO) == training.render(turns, tools)


def test_a_call_and_its_result_in_hermes_form(words: Path) -> None:
    text = template(words, HERMES).text(TWO)
    assert (
        "<|im_start|>assistant\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "look_up", "arguments": {"key": "ä<b>"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n3\n!\n</tool_response>\n"
        "<tool_response>\nError: x\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    ) in text


def test_a_call_and_its_result_in_llama_form(words: Path) -> None:
    text = template(words, LLAMA).text(SUM)
    assert (
        '<|end_header_id|>\n\n{"name": "add", "parameters": {"a": 17, "b": 25}}<|eot_id|>' in text
    )
    assert '<|start_header_id|>ipython<|end_header_id|>\n\n"42"<|eot_id|>' in text
    assert text.index("Environment: ipython") < text.index("Be kind.") < text.index('"add"')


def test_a_call_and_its_result_in_mistral_form(words: Path) -> None:
    called, answered = [call("toolu_0123456789", a=17, b=25)], [result("toolu_0123456789", "42")]
    conversation = asked("17+25?", called, answered, tools=[ADD])
    text = template(words, MISTRAL).text(conversation)
    head, _, rest = text.partition(
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 17, "b": 25}, '
    )
    assert head.startswith('<|endoftext|>[AVAILABLE_TOOLS] [{"type": "function", "function": ')
    assert head.endswith("[INST] 17+25?[/INST]")
    # The same id of nine characters on both sides.
    id_ = rest[len('"id": "') :][:9]
    assert id_.isalnum()
    told = f'[TOOL_RESULTS] {{"content": 42, "call_id": "{id_}"}}[/TOOL_RESULTS]'
    assert rest == f'"id": "{id_}"}}]<|im_end|>{told}'


@pytest.mark.parametrize(
    ("source", "tools", "thinking", "begins", "system_first", "inside", "after", "short"),
    [
        (SHIPPED, True, True, True, True, True, True, False),
        (HERMES, True, True, False, True, True, True, False),
        (LLAMA, True, False, False, True, True, True, False),
        (MISTRAL, True, False, False, False, False, False, True),
        (TYPED, True, False, False, False, True, True, False),
        (TEMPLATE + "{{ '<r>' if thinking }}", False, True, True, False, True, False, False),
        (TEMPLATE, False, False, False, False, True, False, False),
        ("{{ raise_exception('never') }}", False, False, False, False, False, False, False),
        (TEMPLATE + "{{ '<think>\\n' }}", False, True, True, False, True, False, False),
    ],
    ids=[
        "shipped",
        "hermes",
        "llama",
        "mistral",
        "typed",
        "by another word",
        "plain",
        "none",
        "always thinking",
    ],
)
def test_what_a_template_can_express_is_found_by_asking_it(
    words: Path, source: str, tools: bool, thinking: bool, begins: bool, system_first: bool,
    inside: bool, after: bool, short: bool,
) -> None:  # fmt: skip
    found = template(words, source).abilities
    assert (found.tools, found.thinking, found.begins_thinking) == (tools, thinking, begins)
    assert (found.system_first, found.system_inside) == (system_first, inside)
    assert (found.user_after_results, found.short_ids) == (after, short)


@pytest.mark.parametrize(
    ("conversation", "path"),
    [
        (SUM, "tools"),
        (asked("Hi", [call("t", a=1)], [result("t", "2")]), "messages.1.content.0"),
    ],
)
def test_a_template_without_tools_refuses_them_by_name(
    words: Path, conversation: Prompt, path: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{path}: this model's chat template has no tools$"):
        template(words, TEMPLATE).tokens(conversation)


# --- what is read ---------------------------------------------------------------------------------


def test_results_come_as_text_as_a_list_as_nothing_and_as_errors(words: Path) -> None:
    contents: list[Any] = ["42", [words_of("4"), words_of("2")], [], "no", "Error: no", ""]
    failed = (3, 4, 5)
    ids = [f"t{n}" for n in range(len(contents))]
    conversation = asked(
        "Go",
        [call(id_) for id_ in ids],
        [result(ids[n], content, is_error=n in failed) for n, content in enumerate(contents)],
        tools=[ADD],
    )
    messages, _ = template(words).conversation(conversation)
    told = [m["content"] for m in messages if m["role"] == "tool"]
    reason = "Error: the tool gave no reason"
    assert told == ["42", "4\n2", "", "Error: no", "Error: no", reason]
    assert [m["tool_call_id"] for m in messages if m["role"] == "tool"] == ids
    assert {m["name"] for m in messages if m["role"] == "tool"} == {"add"}


def test_a_system_message_in_mid_conversation_stays_in_its_place(words: Path) -> None:
    roles = ("user", "assistant", "user", "system", "system", "assistant", "user")
    conversation = asked("a", "b", "c", "now rhyme", "and sing", "d", "e", roles=roles, system="s")
    said = [(m["role"], m["content"]) for m in template(words).conversation(conversation)[0]]
    assert said == [
        ("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"),
        ("system", "now rhyme\n\nand sing"), ("assistant", "d"), ("user", "e"),
    ]  # fmt: skip


def test_where_a_template_cannot_keep_a_system_message_it_is_the_users(words: Path) -> None:
    roles = ("user", "assistant", "user", "system")
    ours = template(words, MISTRAL)
    text = ours.text(asked("a", "b", "c", "now rhyme", roles=roles))
    assert text.endswith("[INST] c\n\nnow rhyme[/INST]")


def test_what_a_user_says_where_nothing_may_stand_behind_results_is_part_of_the_last(
    words: Path,
) -> None:
    contents: list[Any] = ["Go", [call("t"), call("u")], [result("t", "1"), result("u", "2")]]
    contents[2].append(words_of("And?"))
    roles = ("user", "assistant", "user", "system")
    ours = template(words, MISTRAL)
    text = ours.text(asked(*contents, "Hurry.", roles=roles, tools=[ADD]))
    first, second = text.split("[TOOL_RESULTS] ")[1:]
    assert first.startswith('{"content": 1, ')
    assert second.startswith('{"content": 2\nAnd?\nHurry., ')


def test_a_system_message_is_gone_when_its_time_is_over(words: Path) -> None:
    turns: list[Any] = [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "shortly", "clear_at": "next_user_message"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "now", "clear_at": "next_user_message"},
    ]
    conversation = CountRequest.model_validate({"model": "haiku", "messages": turns})
    said = [m["content"] for m in template(words).conversation(conversation)[0]]
    assert said == ["a", "b", "c", "now"]


def test_deferred_tools_are_read_where_a_result_names_them_and_once(words: Path) -> None:
    def reference(name: str) -> dict[str, Any]:
        return {"type": "tool_reference", "tool_name": name}

    late = {**LOOK, "defer_loading": True}
    before = asked("Find", tools=[ADD, late])
    after = asked(
        "Find",
        [call("t1", "add")],
        [result("t1", [reference("look_up"), reference("add")])],
        [call("t2", "add")],
        [result("t2", [reference("look_up")])],
        tools=[ADD, late],
    )
    ours = template(words)
    _, tools = ours.conversation(after)
    assert (
        tools == ours.conversation(before)[1] == [{"type": "function", "function": function(ADD)}]
    )
    told = [m["content"] for m in ours.conversation(after)[0] if m["role"] == "tool"]
    first, second = told[0].split("\n")
    assert json.loads(first) == function(LOOK)
    assert [json.loads(second), json.loads(told[1])] == [{"name": "add"}, {"name": "look_up"}]


@pytest.mark.parametrize(
    ("contents", "prefilled"),
    [
        (["Hi"], False),
        (["Hi", "x"], True),
        (["Hi", ""], False),
        (["Hi", [thought("hm")]], False),
        (["Hi", [call("t")], [result("t")]], False),
    ],
)
def test_an_answer_is_continued_where_there_is_text_to_continue(
    words: Path, contents: list[Any], prefilled: bool
) -> None:
    conversation = asked(*contents)
    assert is_prefilled(conversation) == prefilled
    assert template(words).text(conversation).endswith("<|im_start|>assistant\n") != prefilled


def test_a_last_call_without_a_result_is_the_callers_fault(words: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^messages: .*without a result"):
        template(words).tokens(asked("Hi", [call("t")], tools=[ADD]))


def test_half_a_character_in_an_argument_is_told_by_its_path(words: Path) -> None:
    conversation = asked("Hi", [words_of("x"), call("t", a={"b": ["\ud800"]})], [result("t")])
    with pytest.raises(InvalidRequest, match=r"^messages.1.content.1: .*half a character"):
        template(words).tokens(conversation)


def test_a_number_that_json_cannot_express_is_told_by_its_path(words: Path) -> None:
    conversation = asked("Hi", [call("t", a=[1e308 * 10])], [result("t")])
    with pytest.raises(InvalidRequest, match=r"^messages.1.content.0: a number in it"):
        template(words).tokens(conversation)


# --- nothing that was written is lost or gains power ----------------------------------------------

pieces = st.sampled_from(
    [
        *SPECIAL,
        *MARKS,
        "<|",
        "im_end",
        "|>",
        "<tool",
        "_call>",
        "\n",
        " ",
        '"',
        "\\",
        "é",
        "🦊",
        "x",
    ]
)
hostile = st.lists(pieces, min_size=1, max_size=6).map("".join).filter(lambda t: bool(t.strip()))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(hostile, values, max_size=3)


def conversation_of(text: str, given: Any, schema: Any) -> Prompt:
    tool = {**ADD, "description": text, "input_schema": {**schema, "type": "object"}}
    blocks = [thought(text), words_of(text), {**call("t"), "input": given}]
    answered = [result("t", text, is_error=True), words_of(text)]
    return asked(text, blocks, answered, tools=[tool], system=text)


@settings(max_examples=60, deadline=None)
@given(hostile, objects, objects, st.sampled_from(["shipped", "hermes", "llama"]))
def test_nothing_that_a_caller_wrote_becomes_a_control_token(
    words: Path, text: str, given: Any, schema: Any, name: str
) -> None:
    ours = template(words, WITH_TOOLS[name])
    tokens = ours.tokens(conversation_of(text, given, schema))
    plain = ours.tokens(conversation_of("x", {}, {}))
    assert control_tokens(ours, tokens) == control_tokens(ours, plain)
    # And nothing is lost: the tokens say what the oracle says of the same messages.
    messages, tools = ours.conversation(conversation_of(text, given, schema))
    theirs = oracle(words, WITH_TOOLS[name])
    fields: Any = {"tools": tools, "tokenize": False, "add_generation_prompt": True}
    expected = theirs.apply_chat_template(messages, enable_thinking=False, **fields)
    assert theirs.decode(tokens, skip_special_tokens=False) == expected


@settings(max_examples=60, deadline=None)
@given(objects, objects)
def test_arguments_and_schemas_are_read_back_as_they_were_written(
    words: Path, given: Any, schema: Any
) -> None:
    text = template(words).text(conversation_of("y", given, schema))
    _, _, behind = text.partition('<tool_call>\n{"name":"add","arguments":')
    read, _ = json.JSONDecoder(object_pairs_hook=list).raw_decode(behind)
    as_written = json.loads(json.dumps(given), object_pairs_hook=list)
    assert read == as_written
    _, _, behind = text.partition('"parameters":')
    read, _ = json.JSONDecoder(object_pairs_hook=list).raw_decode(behind)
    assert read == json.loads(json.dumps({**schema, "type": "object"}), object_pairs_hook=list)


def test_large_numbers_and_the_order_of_keys_are_kept(words: Path) -> None:
    given = {"z": 12345678901234567890123, "a": 0.1, "m": -0.0, "é": "\u2028", "b": 1e-300}
    text = template(words).text(asked("Hi", [{**call("t"), "input": given}], [result("t")]))
    assert json.dumps(given, ensure_ascii=False, separators=(",", ":")) in text
