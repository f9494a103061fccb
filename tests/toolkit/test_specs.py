"""Tools as models read them: published schemas, toolsets, and what is in view when."""

from __future__ import annotations

import importlib
from typing import Any

import anthropic.types as sdk
import anthropic.types.beta as beta
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from renga.toolkit import ToolSpec, definition, listed, specs_of, visible
from renga.types import CacheControl, CountRequest

BASE: dict[str, Any] = {"model": "haiku", "messages": [{"role": "user", "content": "Hello."}]}

CLIENT_TOOLS: list[dict[str, Any]] = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250124", "name": "str_replace_editor"},
    {"type": "text_editor_20250429", "name": "str_replace_based_edit_tool"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 900},
    {"type": "memory_20250818", "name": "memory"},
    *(
        {"type": kind, "name": "computer", "display_width_px": 800, "display_height_px": 600}
        for kind in ("computer_20241022", "computer_20250124", "computer_20251124")
    ),
    {"type": "computer_toolset_20260801"},
    {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
    {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"},
]


def prompt(*tools: dict[str, Any], messages: list[dict[str, Any]] | None = None) -> CountRequest:
    body = {**BASE, "tools": list(tools)} | ({"messages": messages} if messages else {})
    return CountRequest.model_validate(body)


def only(tool: dict[str, Any]) -> ToolSpec:
    (spec,) = specs_of(prompt(tool))
    return spec


def custom(name: str, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    return {"name": name, "description": f"Does {name}.", "input_schema": schema, **more}


def accepts(spec: ToolSpec, arguments: Any) -> bool:
    return bool(Draft202012Validator(spec.schema).is_valid(arguments))


@pytest.mark.parametrize("tool", CLIENT_TOOLS, ids=lambda tool: tool["type"])
def test_every_known_tool_has_a_description_and_a_valid_schema_of_an_object(
    tool: dict[str, Any],
) -> None:
    for spec in specs_of(prompt(tool)):
        Draft202012Validator.check_schema(spec.schema)
        assert spec.schema["type"] == "object"
        assert spec.description
        assert not accepts(spec, "text")
        assert not accepts(spec, {"no_such_argument": 1})


def fields(model: type[BaseModel]) -> tuple[set[str], set[str]]:
    """(all, required) arguments of a type of the official package."""
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    return set(model.model_fields), required


def camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def test_members_of_the_computer_toolset_are_those_of_the_official_package() -> None:
    specs = specs_of(prompt({"type": "computer_toolset_20260801"}))
    values = importlib.import_module("anthropic.types.computer_member_name")
    assert [spec.name for spec in specs] == list(values.COMPUTER_MEMBER_NAME_VALUES)
    for spec in specs:
        published = fields(getattr(sdk, f"Computer{camel(spec.name)}Input"))
        assert (set(spec.schema["properties"]), set(spec.schema["required"])) == published
        assert spec.toolset == "computer"


def test_commands_of_the_memory_tool_are_those_of_the_official_package() -> None:
    spec = only({"type": "memory_20250818", "name": "memory"})
    commands = [form["properties"]["command"]["const"] for form in spec.schema["anyOf"]]
    assert commands == ["view", "create", "str_replace", "insert", "delete", "rename"]
    for command, form in zip(commands, spec.schema["anyOf"], strict=True):
        published = fields(getattr(beta, f"BetaMemoryTool20250818{camel(command)}Command"))
        assert (set(form["properties"]), set(form["required"])) == published


@pytest.mark.parametrize(
    ("tool", "right", "wrong"),
    [
        (0, {"command": "ls"}, {"command": "ls", "restart": True}),
        (0, {"restart": True}, {"restart": False}),
        (1, {"command": "undo_edit", "path": "/a"}, {"command": "insert", "path": "/a"}),
        (
            1,
            {"command": "insert", "path": "/a", "insert_line": 0, "new_str": "x"},
            {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
        ),
        (2, {"command": "view", "path": "/a"}, {"command": "undo_edit", "path": "/a"}),
        (
            3,
            {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
            {"command": "insert", "path": "/a", "insert_line": 0, "new_str": "x"},
        ),
        (3, {"command": "view", "path": "/a", "view_range": [1, -1]}, {"command": "create"}),
        (
            5,
            {"action": "left_click"},
            {"action": "left_click", "coordinate": [1, 2]},
        ),
        (5, {"action": "mouse_move", "coordinate": [1, 2]}, {"action": "scroll"}),
        (
            6,
            {"action": "scroll", "scroll_direction": "up", "scroll_amount": 2},
            {"action": "zoom", "region": [0, 0, 1, 1]},
        ),
        (6, {"action": "left_click", "coordinate": [1, 2]}, {"action": "left_click_drag"}),
        (7, {"action": "wait", "duration": 1}, {"action": "zoom", "region": [0, 0, 1, 1]}),
        (9, {"pattern": "a"}, {"query": "a"}),
        (10, {"query": "a"}, {"pattern": "a"}),
    ],
)
def test_each_command_takes_its_own_arguments(
    tool: int, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    spec = only(CLIENT_TOOLS[tool])
    assert accepts(spec, right)
    assert not accepts(spec, wrong)


def test_what_a_tool_was_told_of_its_surroundings_is_in_its_description() -> None:
    editor, computer = only(CLIENT_TOOLS[3]), only(CLIENT_TOOLS[7] | {"enable_zoom": True})
    assert "900 characters" in editor.description
    assert "800x600" in computer.description
    assert "zoom" in computer.description
    assert accepts(computer, {"action": "zoom", "region": [0, 0, 10, 10]})


def test_members_of_a_toolset_can_be_switched_off_and_its_mark_is_on_the_last() -> None:
    configs = {"zoom": {"enabled": False}, "screenshot": {"enabled": True}, "key": None}
    control = {"type": "ephemeral"}
    specs = specs_of(
        prompt(
            {"type": "computer_toolset_20260801", "configs": configs, "cache_control": control},
            custom("other"),
        )
    )
    names = [spec.name for spec in specs]
    assert "zoom" not in names
    assert names[-2:] == ["screenshot", "other"]
    assert [s.name for s in specs if s.control == CacheControl(type="ephemeral")] == ["screenshot"]
    assert {spec.path for spec in specs} == {"tools.0", "tools.1"}


def test_a_definition_keeps_the_order_of_a_schema_and_shows_examples() -> None:
    plain, shown = only(custom("add")), only(custom("add", input_examples=[{"b": "1"}]))
    assert list(definition(plain)) == ["name", "description", "parameters"]
    assert list(definition(plain)["parameters"]["properties"]) == ["b", "a"]
    assert definition(shown)["parameters"]["examples"] == [{"b": "1"}]
    assert "examples" not in shown.schema
    bare = only({"name": "bare", "input_schema": {"type": "object"}})
    assert definition(bare) == {"name": "bare", "parameters": {"type": "object"}}


def test_a_deferred_tool_comes_into_view_where_it_was_named_and_changes_no_list() -> None:
    tools = [custom("find"), custom("b", defer_loading=True), custom("a", defer_loading=True)]
    call = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}
    found = [{"type": "tool_reference", "tool_name": name} for name in ("a", "b", "a", "find")]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": found}
    before = prompt(*tools)
    after = prompt(
        *tools,
        messages=[
            *BASE["messages"],
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ],
    )
    assert [spec.name for spec in visible(before)] == ["find"]
    assert [spec.name for spec in visible(after)] == ["find", "a", "b"]
    assert listed(before) == listed(after) == visible(before)
