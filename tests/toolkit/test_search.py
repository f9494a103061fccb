"""Finding tools: what is looked at, how many, in which order, and in how much time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.toolkit import ToolSpec
from renga.toolkit.client_tools import LONGEST_PATTERN
from renga.toolkit.search import (
    MOST_FOUND,
    InvalidSearch,
    find_by_pattern,
    find_by_words,
)


def tool(name: str, description: str = "", **arguments: str) -> ToolSpec:
    properties = {
        key: {"type": "string", "description": said} if said else {"type": "string"}
        for key, said in arguments.items()
    }
    return ToolSpec(name, description, {"type": "object", "properties": properties})


SPECS = [
    tool("get_weather", "The weather at a place.", city="Name of a city"),
    tool("get_forecast", "What the weather will be.", city="", days="How far ahead"),
    tool("readFile", "Text of a file.", path="Where it lies"),
    tool("send_mail", "Send a letter to somebody.", to="", subject=""),
    tool("Slack_post", "Write into a channel.", channel="", text="Message to say"),
]


def names(found: list[ToolSpec]) -> list[str]:
    return [spec.name for spec in found]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("get_.*", ["get_weather", "get_forecast"]),
        ("weather", ["get_weather", "get_forecast"]),
        ("^get_weather$", ["get_weather"]),
        ("slack", []),
        ("(?i)slack", ["Slack_post"]),
        ("subject", ["send_mail"]),
        ("far ahead", ["get_forecast"]),
        ("mail|file", ["send_mail", "readFile"]),
        ("no such tool", []),
    ],
)
def test_a_pattern_is_looked_for_in_names_descriptions_and_arguments(
    pattern: str, expected: list[str]
) -> None:
    assert names(find_by_pattern(SPECS, pattern)) == expected


@pytest.mark.parametrize(
    "pattern", ["(", "a(?=b)", r"(a)\1", "x{1000}{1000}{1000}", "a" * (LONGEST_PATTERN + 1)]
)
def test_a_pattern_that_cannot_be_followed_is_refused_with_a_sentence(pattern: str) -> None:
    with pytest.raises(InvalidSearch, match="pattern"):
        find_by_pattern(SPECS, pattern)


@given(
    st.sampled_from(["a", "b", "ab", "(a|ab)", "a*b", "[ab]+$", "^b", "a.b", "(?i)AB", r"\w{2}"])
)
def test_patterns_find_what_pythons_search_finds(pattern: str) -> None:
    texts = ["a", "b", "ab", "ba", "aab", "axb", "bbb", "A_B"]
    found = [text for text in texts if find_by_pattern([tool(text)], pattern)]
    assert found == [text for text in texts if re.search(pattern, text)]


@given(st.text(max_size=LONGEST_PATTERN))
def test_no_pattern_does_worse_than_being_refused(pattern: str) -> None:
    try:
        found = find_by_pattern(SPECS, pattern)
    except InvalidSearch:
        return
    assert len(found) <= MOST_FOUND


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){20}$"])
def test_a_pattern_made_to_never_end_ends(pattern: str) -> None:
    # Python's own engine takes longer than the universe has for these.
    assert find_by_pattern([tool("x", "a" * 5_000 + "!")], pattern) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("weather forecast", ["get_forecast", "get_weather"]),
        ("read a file", ["readFile", "get_weather", "send_mail", "Slack_post"]),
        ("post to slack", ["Slack_post", "send_mail"]),
        ("???", []),
        ("", []),
    ],
)
def test_a_query_finds_tools_that_share_its_words_best_first(
    query: str, expected: list[str]
) -> None:
    assert names(find_by_words(SPECS, query)) == expected


def test_at_most_five_are_found_and_equals_keep_their_order() -> None:
    many = [tool(f"tool_{letter}", "Does the same.") for letter in "abcdefgh"]
    assert names(find_by_words(many, "same")) == names(many[:MOST_FOUND])
    assert names(find_by_pattern(many, "tool")) == names(many[:MOST_FOUND])


@given(st.text(max_size=80), st.lists(st.text(max_size=20), max_size=8))
def test_a_search_by_words_finds_only_tools_that_share_one(query: str, texts: list[str]) -> None:
    specs = [tool(f"t{i}", text) for i, text in enumerate(texts)]
    found = find_by_words(specs, query)
    assert len(found) <= MOST_FOUND
    assert len({spec.name for spec in found}) == len(found)
    assert all(find_by_words([spec], query) for spec in found)


def test_an_endless_query_is_refused() -> None:
    with pytest.raises(InvalidSearch, match="query"):
        find_by_words(SPECS, "word " * 200)


def test_arguments_inside_arguments_are_searched_too() -> None:
    inner = {"type": "object", "properties": {"zip": {"type": "string", "description": "Postal"}}}
    spec = ToolSpec("t", "", {"type": "object", "properties": {"at": {"anyOf": [inner]}}})
    assert find_by_pattern([spec], "^Postal$") == find_by_words([spec], "zip") == [spec]
