"""The published schemas as grammars: what a model can write is what the schemas accept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from renga.chat.calling import tools_grammar
from renga.chat.forms import HERMES
from renga.engine.grammar import _without_names
from renga.toolkit import ToolSpec, specs_of
from tests.tiny_model import TURN_END, train_tokenizer
from tests.toolkit.test_specs import CLIENT_TOOLS, accepts, prompt

POINT = [10, 20]
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "bash": [{"command": "ls -l"}, {"restart": True}, {"restart": False}, {}],
    "str_replace_editor": [
        {"command": "undo_edit", "path": "/a"},
        {"command": "insert", "path": "/a", "insert_line": 3, "new_str": "x"},
        {"command": "insert", "path": "/a", "insert_line": 3},
    ],
    "str_replace_based_edit_tool": [
        {"command": "view", "path": "/a", "view_range": [1, -1]},
        {"command": "view", "path": "/a", "view_range": [1]},
        {"command": "create", "path": "/a", "file_text": "x"},
        {"command": "create", "path": "/a"},
        {"command": "undo_edit", "path": "/a"},
    ],
    "memory": [
        {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"},
        {"command": "delete", "path": "/memories/a"},
        {"command": "delete"},
    ],
    "computer": [
        {"action": "screenshot"},
        {"action": "left_click"},
        {"action": "left_click", "coordinate": POINT},
        {"action": "left_click", "coordinate": [1]},
        {"action": "mouse_move", "coordinate": POINT},
        {"action": "scroll", "scroll_direction": "down", "scroll_amount": 2},
        {"action": "scroll", "scroll_direction": "in", "scroll_amount": 2},
        {"action": "zoom", "region": [0, 0, 1, 1]},
    ],
    "wait": [{"duration": 2}, {}],
    "scroll": [{"scroll_direction": "up", "scroll_amount": 1}, {"scroll_amount": 1}],
    "tool_search_tool_regex": [{"pattern": "a"}, {"query": "a"}, {"pattern": "a" * 201}],
    "tool_search_tool_bm25": [{"query": "a"}, {"pattern": "a"}],
}


@pytest.fixture(scope="module")
def vocabulary() -> LLTokenizer:
    return LLTokenizer(_without_names(train_tokenizer().to_str()), eos_token=TURN_END)


def can_be_called(vocabulary: LLTokenizer, specs: list[ToolSpec], name: str, given: Any) -> bool:
    """Whether a model that must call one of `specs` could call `name` with `given`."""
    said = json.dumps({"name": name, "arguments": given}, separators=(",", ":"))
    tokens = vocabulary.tokenize_str(f"<tool_call>\n{said}\n</tool_call>")
    grammar = tools_grammar(specs, HERMES, lazy=False, parallel=False).grammar
    matcher = LLMatcher(vocabulary, grammar)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("tool", CLIENT_TOOLS, ids=lambda tool: tool["type"])
def test_a_call_can_be_written_exactly_where_its_schema_accepts_it(
    vocabulary: LLTokenizer, tool: dict[str, Any], strict: bool
) -> None:
    toolset = tool["type"].startswith("computer_toolset")
    specs = specs_of(prompt(tool if toolset else tool | {"strict": strict}))
    for spec in specs:
        for given in ARGUMENTS.get(spec.name, []):
            written = can_be_called(vocabulary, specs, spec.name, given)
            assert written == accepts(spec, given), (spec.name, given)


def test_all_of_them_together_can_be_followed(vocabulary: LLTokenizer) -> None:
    specs = specs_of(prompt(*CLIENT_TOOLS[:2], *CLIENT_TOOLS[3:5], CLIENT_TOOLS[7]))
    assert can_be_called(vocabulary, specs, "bash", {"command": "ls"})
    assert not can_be_called(vocabulary, specs, "bash", {"path": "ls"})
