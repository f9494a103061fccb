"""Where tools, calls and results end in the tokens, in templates that put them where they like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.caching import breakpoints, positions
from renga.chat.render import ChatTemplate, Measured
from renga.types import Prompt
from tests.chat.templates import TYPED, WITH_TOOLS
from tests.chat.test_tools import (
    ADD,
    LOOK,
    asked,
    call,
    conversation_of,
    hostile,
    objects,
    result,
    template,
    thought,
    words_of,
)

SHORT: Any = {"type": "ephemeral"}
LONG: Any = {"type": "ephemeral", "ttl": "1h"}


def measured(ours: ChatTemplate, prompt: Prompt) -> tuple[list[str], Measured]:
    """Paths of all positions, and where they end."""
    turns = ours.read(prompt)
    found = positions(prompt, turns)
    return [p.path for p in found], ours.measure(prompt, turns, found)


def shown(ours: ChatTemplate, prompt: Prompt) -> dict[str, str]:
    """The text up to each position."""
    paths, found = measured(ours, prompt)
    return {path: found.text[:end] for path, end in zip(paths, found.ends, strict=True)}


AGENT = asked(
    "17+25?",
    [thought("Add them."), words_of("Let me see."), call("t1", a=17, b=25, why="so")],
    [result("t1", [words_of("4"), words_of("2")]), words_of("And?")],
    tools=[ADD, LOOK],
    system=[words_of("Be kind."), words_of("Be brief.")],
)  # fmt: skip


def test_the_shipped_form_has_the_tools_behind_the_system_text(words: Path) -> None:
    ours = template(words)
    paths, found = measured(ours, AGENT)
    assert paths == [
        "system.0", "system.1", "tools.0", "tools.1",
        "messages.0.content.0",
        "messages.1.content.1", "messages.1.content.2",
        "messages.2.content.0.content.0", "messages.2.content.0", "messages.2.content.1",
    ]  # fmt: skip
    ends = shown(ours, AGENT)
    assert ends["system.1"].endswith("Be kind.\n\nBe brief.")
    # The last string of the schema: what is behind it is punctuation.
    assert ends["tools.0"].endswith('"required":["a","b')
    assert ends["tools.1"].endswith('"properties":{"key":{"type":"string')
    assert ends["messages.1.content.1"].endswith("Add them.\n</think>\n\nLet me see.")
    assert ends["messages.1.content.2"].endswith('"b":25,"why":"so')
    assert ends["messages.2.content.0.content.0"].endswith("<tool_response>\n4")
    assert ends["messages.2.content.0"].endswith("<tool_response>\n4\n2")
    assert found.tokens == ours.tokens(AGENT)


def test_arguments_without_a_string_end_at_their_last_name(words: Path) -> None:
    prompt = asked("Hi", [call("t", a=17, b=25), call("u")], [result("t"), result("u")])
    ends = shown(template(words), prompt)
    assert ends["messages.1.content.0"].endswith('{"a":17,"b')
    assert ends["messages.1.content.1"].endswith('{"name":"add')
    # A result that is nothing ends where the one before it does.
    assert ends["messages.2.content.0"] == ends["messages.1.content.1"]
    assert ends["messages.2.content.1"] == ends["messages.1.content.1"]


def test_marks_go_where_a_template_does_not_look(words: Path) -> None:
    ours = template(words, TYPED)
    prompt = asked("Hi", tools=[ADD, LOOK])
    paths, found = measured(ours, prompt)
    assert found.tokens == ours.tokens(prompt)
    ends = shown(ours, prompt)
    # In its schema a mark would make "integer" another type and "b" optional.
    assert ends["tools.0"].endswith("a: number, // The first.")
    assert ends["tools.1"] == ends["tools.0"], "it has no description to be marked in"
    assert ends["messages.0.content.0"].endswith("<|im_start|>user\nHi")
    assert paths == ["tools.0", "tools.1", "messages.0.content.0"]


def test_tools_that_stand_before_the_last_question_hold_no_more_than_the_head(words: Path) -> None:
    ours = template(words, WITH_TOOLS["mistral"])
    prompt = asked("One", "Two", "Three", tools=[ADD])
    ends = shown(ours, prompt)
    assert ends["tools.0"].endswith("[INST] One")
    assert ends["messages.2.content.0"].endswith("[INST] Three")


def test_what_a_template_has_said_by_another_role_ends_where_it_stands(words: Path) -> None:
    ours = template(words, WITH_TOOLS["mistral"])
    roles = ("user", "system", "assistant", "user", "system")
    contents: list[Any] = ["Go", "Now.", [call("t", a=1)], [result("t", "2")], "Hurry."]
    ends = shown(ours, asked(*contents, roles=roles, tools=[ADD]))
    assert ends["messages.1.content.0"].endswith("[INST] Go\n\nNow.")
    assert ends["messages.3.content.0"].endswith('{"content": 2')
    assert ends["messages.4.content.0"].endswith('{"content": 2\nHurry.')


# --- marks on the head ----------------------------------------------------------------------------


def marked(ours: ChatTemplate, prompt: Prompt) -> list[tuple[str, str]]:
    turns = ours.read(prompt)
    found = positions(prompt, turns)
    return [(found[m.at].path, m.ttl) for m in breakpoints(prompt, turns, found)]


def head(tool: Any = None, system: Any = None, text: str = "Be kind.") -> Prompt:
    return asked(
        "Hi",
        tools=[ADD, {**LOOK, "cache_control": tool}],
        system=[{**words_of(text), "cache_control": system}],
    )


@pytest.mark.parametrize(
    ("prompt", "places"),
    [
        (head(tool=SHORT), [("tools.1", "5m")]),
        (head(system=SHORT), [("tools.1", "5m")]),
        (head(tool=LONG, system=SHORT), [("tools.1", "1h")]),
        (head(tool=SHORT, system=SHORT), [("tools.1", "5m")]),
    ],
)
def test_a_mark_at_the_end_of_the_system_text_holds_the_tools_behind_it_too(
    words: Path, prompt: Prompt, places: list[tuple[str, str]]
) -> None:
    assert marked(template(words), prompt) == places


def test_where_tools_come_first_each_mark_is_at_its_own_end(words: Path) -> None:
    ours = template(words, TYPED)
    assert marked(ours, head(tool=LONG, system=SHORT)) == [("tools.1", "1h"), ("system.0", "5m")]


def test_a_mark_on_tools_is_nothing_to_a_prompt_with_another_system_text(words: Path) -> None:
    def keys(ours: ChatTemplate, prompt: Prompt) -> dict[str, bytes]:
        return {p.path: p.key for p in positions(prompt, ours.read(prompt))}

    one, other = head(tool=SHORT), head(tool=SHORT, text="Be rude.")
    behind, first = template(words), template(words, TYPED)
    assert keys(behind, one)["tools.1"] != keys(behind, other)["tools.1"]
    assert keys(first, one)["tools.1"] == keys(first, other)["tools.1"]
    # Nor does one system block of several depend on the tools that are written behind it.
    less = asked("Hi", tools=[ADD], system=[words_of("Be kind.")])
    assert keys(behind, less)["system.0"] == keys(behind, one)["system.0"]


# --- properties -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(hostile, objects, objects, st.sampled_from(sorted(set(WITH_TOOLS) - {"mistral"})))
def test_lengths_never_fall_and_marks_change_no_token(
    words: Path, text: str, given: Any, schema: Any, name: str
) -> None:
    ours, prompt = template(words, WITH_TOOLS[name]), conversation_of(text, given, schema)
    if name == "typed":
        prompt = conversation_of(text, given, {"properties": {"a": {"type": "integer"}}})
    paths, found = measured(ours, prompt)
    assert found.tokens == ours.tokens(prompt)
    assert found.lengths == sorted(found.lengths)
    assert found.ends == sorted(found.ends)
    assert len(found.lengths) == len(paths)


@settings(max_examples=60, deadline=None)
@given(
    hostile, hostile, st.integers(0, 4), st.sampled_from(["shipped", "hermes", "llama", "typed"])
)
def test_prompts_that_begin_alike_have_equal_tokens_up_to_the_length_of_the_beginning(
    words: Path, text: str, later: str, cut: int, name: str
) -> None:
    """Cut anywhere, and go on otherwise: tools, system text, or a message."""
    ours = template(words, WITH_TOOLS[name])
    whole = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": [words_of(text), call("t", a=1, key=text)]},
        {"role": "user", "content": [result("t", text), words_of(text)]},
    ]
    tools = [{**ADD, "description": text}, LOOK]
    one: dict[str, Any] = {"tools": tools, "system": text, "messages": whole}
    changes: list[dict[str, Any]] = [
        {"tools": [*tools, {**LOOK, "name": "other"}]},
        {"system": [words_of(text), words_of(later)]},
        {"messages": [{"role": "user", "content": [words_of(text), words_of(later)]}]},
        {"messages": [*whole[:2], {"role": "user", "content": [result("t", later)]}]},
        {"messages": [*whole, {"role": "user", "content": later}]},
    ]
    other = {**one, **changes[cut]}
    found = []
    for fields in (one, other):
        prompt = Prompt.model_validate({"model": "haiku", **fields})
        turns = ours.read(prompt)
        ends = positions(prompt, turns)
        measured = ours.measure(prompt, turns, ends)
        found.append((dict(zip((p.key for p in ends), measured.lengths, strict=True)), measured))
    (lengths, first), (others, second) = found
    shared = lengths.keys() & others.keys()
    for key in shared:
        least = min(lengths[key], others[key])
        assert first.tokens[:least] == second.tokens[:least]
    assert shared
