"""Rows of the table of bad input: tools, calls and results, system turns, thinking, forms, edits.

Each rule of the contract on how the parts of a request go together has a row of its own.
"""

from __future__ import annotations

import json
from typing import Any

from tests.http.bad import COUNT, Bad, bad, block_is, field_is, raw, turns_are
from tests.http.served import asking

OBJECT = {"type": "object"}
ADD: dict[str, Any] = {
    "name": "add",
    "description": "Adds two whole numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
SUB = ADD | {"name": "sub"}
HI = {"role": "user", "content": "hi"}
MARK = {"type": "ephemeral"}


def says(role: str, *content: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": b} if isinstance(b, str) else b for b in content]
    return {"role": role, "content": blocks}


def call(id_: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "add", "input": {"a": 1, "b": 2}} | more


def result(id_: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": "3"} | more


def drop(block: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != name}


# --- tools ----------------------------------------------------------------------------------------


def tool_is(name: str, /, *said: str, **changes: Any) -> Bad:
    """One tool, otherwise good; None takes a field away."""
    tool = {key: value for key, value in (ADD | changes).items() if value is not None}
    return field_is(name, *said, tools=[tool])


def schema_is(name: str, /, *said: str, **schema: Any) -> Bad:
    return tool_is(name, *said, input_schema={"type": "object", **schema})


def example_is(name: str, /, *said: str, examples: Any, **schema: Any) -> Bad:
    given = {"input_schema": {"type": "object", **schema}} if schema else {}
    return tool_is(name, *said, input_examples=examples, **given)


def kind_is(name: str, /, *said: str, kind: Any, **fields: Any) -> Bad:
    """A tool of one of the API's own types."""
    return field_is(name, *said, tools=[{"type": kind, **fields}])


LONG_NAME = "x" * 65
TOOLS = [
    field_is("tools an object", "tools: ", "list", "an object", tools={"add": ADD}),
    field_is("tools a string", "tools: ", "list", tools="add"),
    field_is("a tool a string", "tools.0: ", "an object", '"add"', tools=["add"]),
    field_is("a tool null", "tools.0: ", tools=[None]),
    field_is("a tool of no fields", "tools.0.name: Field required", tools=[{}]),
    tool_is("a tool without a name", "tools.0.name: Field required", name=None),
    tool_is("a tool with an empty name", "tools.0.name: ", "pattern", name=""),
    tool_is("a tool with a space", "tools.0.name: ", "{1,64}", '"my tool"', name="my tool"),
    tool_is("a tool with a dot", "tools.0.name: ", "pattern", name="math.add"),
    tool_is("a tool with an umlaut", "tools.0.name: ", "pattern", name="hinzufügen"),
    tool_is("a tool with a line", "tools.0.name: ", "pattern", name="add\n"),
    tool_is("a tool's name of 65 letters", "tools.0.name: ", "{1,64}", name=LONG_NAME),
    tool_is("a tool's name a number", "tools.0.name: ", "string", name=5),
    tool_is("a tool without a schema", "tools.0.input_schema: Field required", input_schema=None),
    tool_is("a description a list", "tools.0.description: ", "string", description=["Adds."]),
    tool_is("an unknown field of a tool", "tools.0.parameters: Extra", parameters=OBJECT),
    tool_is("a tool of another dialect", "tools.0: ", "'function'", "custom", type="function"),
    tool_is("a tool's type a number", "tools.0", type=5),
    tool_is("strict a string", "tools.0.strict: ", "boolean", strict="yes"),
    tool_is("defer_loading a number", "tools.0.defer_loading: ", "boolean", defer_loading=1),
    tool_is("a tool's mark of 2h", "tools.0.cache_control.ttl: ", "'5m' or '1h'",
            cache_control={"type": "ephemeral", "ttl": "2h"}),
    tool_is("a caller that is code", "tools.0.allowed_callers.0: ", "'direct'",
            allowed_callers=["code_execution_20260120"]),
    tool_is("callers a string", "tools.0.allowed_callers: ", "list", allowed_callers="direct"),
    field_is("one name for two tools", "tools.1.name: ", "Tool names must be unique", "'add'",
             "tools.0", tools=[ADD, ADD]),
    field_is("a custom tool by a client tool's name", "tools.1.name: ", "unique", "'bash'",
             tools=[{"type": "bash_20250124", "name": "bash"}, ADD | {"name": "bash"}]),
    field_is("10,001 tools", "tools: ", "10000",
             tools=[ADD | {"name": f"t{i}"} for i in range(10_001)]),
    bad("a bad tool for counting", "tools.0.name: ",
        body={"model": "haiku", "messages": [HI], "tools": [ADD | {"name": ""}]}, path=COUNT),
    field_is("the second tool is bad", "tools.1.input_schema.type: ", "'object'",
             tools=[ADD, SUB | {"input_schema": {"type": "array"}}]),
]  # fmt: skip

SCHEMAS = [
    tool_is("a schema a string", "tools.0.input_schema: ", input_schema="object"),
    tool_is("a schema without type", "tools.0.input_schema.type: Field required", input_schema={}),
    tool_is("a schema of a string", "tools.0.input_schema.type: ", "'object'", "'string'",
            input_schema={"type": "string"}),
    tool_is("a schema of two types", "tools.0.input_schema.type: ", "'object'",
            input_schema={"type": ["object", "null"]}),
    schema_is("properties a list", "tools.0.input_schema.properties: ", "draft 2020-12",
              properties=["a"]),
    schema_is("a property a string", "tools.0.input_schema.properties.a: ", "an object",
              properties={"a": "integer"}),
    schema_is("a property of no type", "tools.0.input_schema.properties.a.type: ", "string",
              properties={"a": {"type": "int"}}),
    schema_is("required a string", "tools.0.input_schema.required: ", "list", required="a"),
    schema_is("required numbers", "tools.0.input_schema.required: ", "list", required=[1]),
    schema_is("an enum a string", "tools.0.input_schema.properties.a.enum: ", "list",
              properties={"a": {"enum": "x"}}),
    schema_is("anyOf empty", "tools.0.input_schema.properties.a.anyOf: ", "list of schemas",
              properties={"a": {"anyOf": []}}),
    schema_is("a bad branch of anyOf", "tools.0.input_schema.properties.a.anyOf.1.type: ",
              properties={"a": {"anyOf": [{"type": "null"}, {"type": "nothing"}]}}),
    schema_is("items a string", "tools.0.input_schema.properties.a.items: ",
              properties={"a": {"type": "array", "items": "string"}}),
    schema_is("minLength negative", "tools.0.input_schema.properties.a.minLength: ", "0 or more",
              properties={"a": {"minLength": -1}}),
    schema_is("multipleOf zero", "tools.0.input_schema.properties.a.multipleOf: ", "above 0",
              properties={"a": {"multipleOf": 0}}),
    schema_is("$defs a list", "tools.0.input_schema.$defs: ", "object of schemas", **{"$defs": []}),
    schema_is("a bad definition", "tools.0.input_schema.$defs.t.items: ",
              **{"$defs": {"t": {"items": 5}}}),
    example_is("examples an object", "tools.0.input_examples: ", "list", examples={"a": 1}),
    example_is("an example a string", "tools.0.input_examples.0: ", examples=["1 + 2"]),
    example_is("an example of a wrong type", "tools.0.input_examples.1.b: ", "integer",
               examples=[{"a": 1, "b": 2}, {"a": 1, "b": "two"}]),
    example_is("an example that lacks a field", "tools.0.input_examples.0: ", "lacks 'b'",
               examples=[{"a": 1}]),
    example_is("an example with a field too much", "tools.0.input_examples.0.c: ",
               "not among the properties", examples=[{"a": 1, "b": 2, "c": 3}]),
    example_is("an example outside an enum", "tools.0.input_examples.0.unit: ", "enum",
               examples=[{"unit": "K"}], properties={"unit": {"enum": ["C", "F"]}}),
    example_is("an example that fails a pattern", "tools.0.input_examples.0.id: ", "pattern",
               examples=[{"id": "7"}], properties={"id": {"pattern": "^[a-z]+$"}}),
    example_is("an example against a definition", "tools.0.input_examples.0.at.0: ", "number",
               examples=[{"at": ["x"]}], properties={"at": {"$ref": "#/$defs/point"}},
               **{"$defs": {"point": {"items": {"type": "number"}}}}),
    example_is("an example too large to judge", "tools.0.input_examples.0: ", "too large",
               examples=[{"a": [{"b": i} for i in range(110_000)]}],
               properties={"a": {"items": {"properties": {"b": {"type": "integer"}}}}}),
    example_is("101 examples", "tools.0.input_examples: ", "100",
               examples=[{"a": 1, "b": 2}] * 101),
    kind_is("an example of a client tool", "tools.0.input_examples.0: ", "anyOf",
            kind="memory_20250818", name="memory", input_examples=[{"command": 5}]),
]  # fmt: skip

SERVER_TOOLS = (
    "web_search_20250305 web_search_20260318 web_fetch_20250910 web_fetch_20260318 "
    "code_execution_20250522 code_execution_20260521 mcp_toolset advisor_20260301 "
    "browser_toolset_20260801 bash_20241022 text_editor_20241022"
).split()
SCREEN = {"display_width_px": 1024, "display_height_px": 768}
CLIENT_TOOLS = [
    *(
        kind_is(f"the tool {kind}", "tools.0: ", f"`{kind}`", "accepted: ", kind=kind, name="x")
        for kind in SERVER_TOOLS
    ),
    kind_is("a tool of no known type", "tools.0: ", "'bash_20990101'", kind="bash_20990101",
            name="bash"),
    kind_is("bash without a name", "tools.0.name: Field required", kind="bash_20250124"),
    kind_is("bash by another name", "tools.0.name: ", "'bash'", '"shell"', kind="bash_20250124",
            name="shell"),
    kind_is("bash with a schema", "tools.0.input_schema: Extra", kind="bash_20250124", name="bash",
            input_schema=OBJECT),
    kind_is("the newer editor by the older name", "tools.0.name: ", "'str_replace_based_edit_tool'",
            kind="text_editor_20250728", name="str_replace_editor"),
    kind_is("the older editor by the newer name", "tools.0.name: ", "'str_replace_editor'",
            kind="text_editor_20250124", name="str_replace_based_edit_tool"),
    kind_is("max_characters too early", "tools.0.max_characters: ", "text_editor_20250728",
            kind="text_editor_20250429", name="str_replace_based_edit_tool", max_characters=100),
    kind_is("max_characters 0", "tools.0.max_characters: ", "1", kind="text_editor_20250728",
            name="str_replace_based_edit_tool", max_characters=0),
    kind_is("memory by another name", "tools.0.name: ", "'memory'", kind="memory_20250818",
            name="notes"),
    kind_is("a computer without a screen", "tools.0.display_width_px: Field required",
            kind="computer_20250124", name="computer"),
    kind_is("a screen without width", "tools.0.display_width_px: ", kind="computer_20250124",
            name="computer", **(SCREEN | {"display_width_px": 0})),
    kind_is("a screen of words", "tools.0.display_height_px: ", "integer", kind="computer_20241022",
            name="computer", **(SCREEN | {"display_height_px": "768"})),
    kind_is("zoom too early", "tools.0.enable_zoom: ", "computer_20251124",
            kind="computer_20250124", name="computer", enable_zoom=True, **SCREEN),
    kind_is("a toolset with a name", "tools.0.name: Extra", kind="computer_toolset_20260801",
            name="computer"),
    kind_is("a member that is not", "tools.0.configs", "levitate",
            kind="computer_toolset_20260801", configs={"levitate": {"enabled": True}}),
    kind_is("a member's config of more", "tools.0.configs.zoom.speed: Extra",
            kind="computer_toolset_20260801", configs={"zoom": {"speed": 5}}),
    kind_is("tool search by another name", "tools.0.name: ", "'tool_search_tool_regex'",
            kind="tool_search_tool_regex_20251119", name="search"),
    field_is("all tools deferred", "tools: All tools have defer_loading set.",
             "At least one tool must be non-deferred", tools=[ADD | {"defer_loading": True}]),
    field_is("a deferred tool marked", "tools.1.cache_control: ", "'sub'", "both defer_loading",
             tools=[ADD, SUB | {"defer_loading": True, "cache_control": MARK}]),
    field_is("a search that is deferred", "tools.1.defer_loading: ",
             tools=[ADD, {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25",
                          "defer_loading": True}]),
]  # fmt: skip


def strict(i: int, optional: int = 0, unions: int = 0) -> dict[str, Any]:
    plain = {f"p{n}": {"type": "string"} for n in range(optional)}
    twofold = {f"u{n}": {"type": ["string", "null"]} for n in range(unions)}
    schema = {
        "type": "object",
        "properties": plain | twofold,
        "required": list(twofold),
        "additionalProperties": False,
    }
    return {"name": f"t{i}", "strict": True, "input_schema": schema}


STRICT = [
    field_is("21 strict tools", "tools.20.strict: ", "at most 20", "21",
             tools=[strict(i) for i in range(21)]),
    field_is("25 optional parameters", "tools.0.input_schema: ", "24 optional", "25",
             tools=[strict(0, optional=25)]),
    field_is("25 optional parameters in two tools", "tools.1.input_schema: ", "24 optional",
             tools=[strict(0, optional=20), strict(1, optional=5)]),
    field_is("17 union parameters", "tools.0.input_schema: ", "16 parameters with union", "17",
             tools=[strict(0, unions=17)]),
]  # fmt: skip


# --- choice ---------------------------------------------------------------------------------------


def choice_is(name: str, /, *said: str, choice: Any, **more: Any) -> Bad:
    return field_is(name, *said, tools=[ADD], tool_choice=choice, **more)


THINK = {"type": "enabled", "budget_tokens": 1_024}
CHOICES = [
    choice_is("a choice a string", "tool_choice: ", choice="auto"),
    choice_is("a choice without type", "tool_choice.type: Field required", choice={}),
    choice_is("a choice of no kind", "tool_choice.type: ", '"required"', "'auto'",
              choice={"type": "required"}),
    choice_is("a named choice without a name", "tool_choice.name: Field required",
              choice={"type": "tool"}),
    choice_is("a choice that names no tool", "tool_choice.name: ",
              "Tool 'mul' not found in provided tools", "add", choice={"type": "tool",
              "name": "mul"}),
    choice_is("a name for any", "tool_choice.name: Extra", choice={"type": "any", "name": "add"}),
    choice_is("parallel a string", "tool_choice.disable_parallel_tool_use: ", "boolean",
              choice={"type": "auto", "disable_parallel_tool_use": "no"}),
    choice_is("parallel with none", "tool_choice.disable_parallel_tool_use: Extra",
              choice={"type": "none", "disable_parallel_tool_use": True}),
    field_is("a choice without tools", "tool_choice: ", "while providing `tools`",
             tool_choice={"type": "auto"}),
    field_is("a choice among no tools", "tool_choice: ", "while providing `tools`", tools=[],
             tool_choice={"type": "any"}),
    choice_is("any with thinking", "tool_choice.type: ",
              "Thinking may not be enabled when tool_choice forces tool use", "'any'",
              choice={"type": "any"}, thinking=THINK, max_tokens=5_000),
    choice_is("a tool with thinking", "tool_choice.type: ",
              "Thinking may not be enabled when tool_choice forces tool use", "'tool'",
              choice={"type": "tool", "name": "add"}, thinking=THINK, max_tokens=5_000),
]  # fmt: skip


# --- calls and results ----------------------------------------------------------------------------


def talk_is(name: str, /, *said: str, turns: list[Any], **more: Any) -> Bad:
    return field_is(name, *said, messages=turns, tools=[ADD], **more)


def called_is(name: str, /, *said: str, block: dict[str, Any], **more: Any) -> Bad:
    """One call, answered by its id."""
    id_ = block.get("id", "toolu_1")
    turns = [HI, says("assistant", block), says("user", result(str(id_)))]
    return talk_is(name, *said, turns=turns, **more)


def result_is(name: str, /, *said: str, block: dict[str, Any], **more: Any) -> Bad:
    turns = [HI, says("assistant", call()), says("user", block)]
    return talk_is(name, *said, turns=turns, **more)


UNANSWERED = "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1"
UNASKED = "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
CALLS = [
    talk_is("a call without a result", "messages.1: ", UNANSWERED,
            turns=[HI, says("assistant", call()), HI]),
    talk_is("a call at the end", "messages.1: ", UNANSWERED, turns=[HI, says("assistant", call())]),
    talk_is("one of two calls without a result", "messages.1: ", "immediately after: toolu_2.",
            turns=[HI, says("assistant", call(), call("toolu_2")), says("user", result())]),
    talk_is("a result after text", "messages.1: ", UNANSWERED,
            "messages.2.content.1 comes too late",
            turns=[HI, says("assistant", call()), says("user", "here", result())]),
    talk_is("a result between texts", "messages.1: ", "toolu_2", "messages.2.content.2",
            turns=[HI, says("assistant", call(), call("toolu_2")),
                   says("user", result(), "and", result("toolu_2"))]),
    talk_is("a result a turn too late", "messages.1: ", UNANSWERED,
            turns=[HI, says("assistant", call()), HI, says("assistant", "ok"),
                   says("user", result())]),
    talk_is("a result in the first turn", "messages.0.content.0: ", UNASKED,
            turns=[says("user", result())]),
    talk_is("a result without a call", "messages.2.content.0: ", UNASKED, "previous message",
            turns=[HI, says("assistant", "ok"), says("user", result())]),
    talk_is("a result for another call", "messages.1: ", UNANSWERED,
            turns=[HI, says("assistant", call()), says("user", result("toolu_9"))]),
    talk_is("a result too many", "messages.2.content.1: ", "toolu_9", "previous message",
            turns=[HI, says("assistant", call()), says("user", result(), result("toolu_9"))]),
    talk_is("a call answered twice", "messages.2.content.1: ", "a single result", "toolu_1",
            turns=[HI, says("assistant", call()), says("user", result(), result())]),
    talk_is("a call answered twice in two messages", "messages.3.content.0: ", "a single result",
            turns=[HI, says("assistant", call()), says("user", result()), says("user", result())]),
    talk_is("one id for two calls", "messages.1.content.1.id: ", "ids must be unique", "'toolu_1'",
            turns=[HI, says("assistant", call(), call()), says("user", result())]),
    talk_is("an id that was there before", "messages.3.content.0.id: ", "ids must be unique",
            turns=[HI, says("assistant", call()), says("user", result()), says("assistant", call()),
                   says("user", result())]),
    talk_is("thirty calls without results", "messages.1: ", "toolu_0", "and 10 more",
            turns=[HI, says("assistant", *(call(f"toolu_{i}") for i in range(30))), HI]),
    talk_is("a call by the user", "messages.0.content.0: ",
            "`tool_use` blocks can only be in `assistant` messages", turns=[says("user", call())]),
    talk_is("a result by the assistant", "messages.1.content.0: ",
            "`tool_result` blocks can only be in `user` messages",
            turns=[HI, says("assistant", result())]),
    called_is("a call without id", "messages.1.content.0.id: Field required",
              block=drop(call(), "id")),
    called_is("a call with a bad id", "messages.1.content.0.id: ", "pattern",
              block=call("toolu 1")),
    called_is("a call with an empty id", "messages.1.content.0.id: ", "pattern", block=call("")),
    called_is("a call without name", "messages.1.content.0.name: Field required",
              block=drop(call(), "name")),
    called_is("a call with a bad name", "messages.1.content.0.name: ", "pattern",
              block=call(name="add it")),
    called_is("a call's name of 201 letters", "messages.1.content.0.name: ", "{1,200}",
              block=call(name="x" * 201)),
    called_is("a call without input", "messages.1.content.0.input: Field required",
              block=drop(call(), "input")),
    called_is("a call's input a string", "messages.1.content.0.input: ", "dictionary",
              block=call(input='{"a": 1}')),
    called_is("a call's input a list", "messages.1.content.0.input: ", block=call(input=[1, 2])),
    called_is("a call's input null", "messages.1.content.0.input: ", block=call(input=None)),
    called_is("a call with more", "messages.1.content.0.arguments: Extra",
              block=call(arguments={})),
    called_is("a call by code", "messages.1.content.0.caller: ", "code execution",
              block=call(caller={"type": "code_execution_20260120", "tool_id": "srvtoolu_1"})),
    called_is("a call by nobody", "messages.1.content.0.caller: ", "'ghost'",
              block=call(caller={"type": "ghost"})),
    called_is("a call's mark of another kind", "messages.1.content.0.cache_control.type: ",
              block=call(cache_control={"type": "forever"})),
    result_is("a result without id", "messages.2.content.0.tool_use_id: Field required",
              block=drop(result(), "tool_use_id")),
    result_is("a result's id a number", "messages.2.content.0.tool_use_id: ", "string",
              block=result() | {"tool_use_id": 1}),
    result_is("a result's content a number", "messages.2.content.0.content: ", "string or a list",
              block=result(content=3)),
    result_is("a result's content an object", "messages.2.content.0.content: ", "string or a list",
              block=result(content={"sum": 3})),
    result_is("a result of strings", "messages.2.content.0.content.0: ",
              block=result(content=["3"])),
    result_is("a result with half an image", "messages.2.content.0.content.0.source: Field",
              block=result(content=[{"type": "image"}])),
    result_is("a result with half a document", "messages.2.content.0.content.0.source: Field",
              block=result(content=[{"type": "document"}])),
    result_is("a result with half a search result", "messages.2.content.0.content.0.source: Field",
              block=result(content=[{"type": "search_result"}])),
    result_is("a result with a browser's state", "messages.2.content.0.content.0: ",
              "`browser_state`", block=result(content=[{"type": "browser_state"}])),
    result_is("a result within a result", "messages.2.content.0.content.0: ", "'tool_result'",
              block=result(content=[result()])),
    result_is("a text without text in a result", "messages.2.content.0.content.0.text: Field",
              block=result(content=[{"type": "text"}])),
    result_is("is_error a string", "messages.2.content.0.is_error: ", "boolean",
              block=result(is_error="no")),
    result_is("a result with more", "messages.2.content.0.name: Extra", block=result(name="add")),
    result_is("a reference to no tool", "messages.2.content.0.content.0.tool_name: ", "'mul'",
              "no corresponding tool definition",
              block=result(content=[{"type": "tool_reference", "tool_name": "mul"}])),
    result_is("a reference without a name", "messages.2.content.0.content.0.tool_name: Field",
              block=result(content=[{"type": "tool_reference"}])),
]  # fmt: skip


def searched(**changes: Any) -> list[dict[str, Any]]:
    found = {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "add"}],
    }
    return [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25",
         "input": {"query": "sum"}} | changes.get("use", {}),
        {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found}
        | changes.get("result", {}),
    ]  # fmt: skip


def search_is(name: str, /, *said: str, **changes: Any) -> Bad:
    turns = [HI, says("assistant", *searched(**changes), "found"), HI]
    return talk_is(name, *said, turns=turns)


FOUND_MUL = {"type": "tool_search_tool_search_result",
             "tool_references": [{"type": "tool_reference", "tool_name": "mul"}]}  # fmt: skip
SEARCHES = [
    search_is("a search by another id", "messages.1.content.0.id: ", "srvtoolu_",
              use={"id": "toolu_1"}),
    search_is("a search of the web", "messages.1.content.0.name: ", "tool_search_tool_regex",
              use={"name": "web_search"}),
    search_is("a search's result of no kind", "messages.1.content.1.content.type: ",
              result={"content": {"type": "found"}}),
    search_is("a search that failed for no known reason",
              "messages.1.content.1.content.error_code: ",
              "'unavailable'", result={"content": {"type": "tool_search_tool_result_error",
                                                   "error_code": "tired"}}),
    search_is("a search that found no tool of these",
              "messages.1.content.1.content.tool_references.0.tool_name: ", "'mul'",
              result={"content": FOUND_MUL}),
    talk_is("a search by the user", "messages.0.content.0: ", "`server_tool_use`", "`assistant`",
            turns=[says("user", searched()[0])]),
    *(
        block_is(f"the block {kind}", "messages.1.content.1: ", f"`{kind}`", "accepted: text",
                 block={"type": kind})
        for kind in (
            "web_search_tool_result", "web_fetch_tool_result",
            "code_execution_tool_result", "bash_code_execution_tool_result",
            "text_editor_code_execution_tool_result", "container_upload", "mcp_tool_use",
            "mcp_tool_result", "mcp_tool_listing", "fallback", "tool_addition", "tool_removal",
            "advisor_tool_result", "tool_reference", "browser_state",
        )
    ),
]  # fmt: skip


# --- system turns ---------------------------------------------------------------------------------

SYSTEM = says("system", "be brief")
SYSTEMS = [
    turns_are("a system turn first", "messages.0.role: ", "top-level `system`",
              messages=[SYSTEM, HI]),
    turns_are("a system turn alone", "messages.0.role: ", messages=[SYSTEM]),
    turns_are("a system turn after the answer", "messages.2.role: ", "must follow a `user` message",
              "'assistant'", messages=[HI, says("assistant", "yes"), SYSTEM]),
    turns_are("a system turn before the user", "messages.1.role: ", "be the last one",
              messages=[HI, SYSTEM, HI]),
    turns_are("two system turns before the user", "messages.2.role: ", "be the last one",
              messages=[HI, SYSTEM, SYSTEM, HI]),
    talk_is("a system turn before the results", "messages.1: ", UNANSWERED,
            turns=[HI, says("assistant", call()), SYSTEM, says("user", result())]),
    turns_are("an empty system turn", "messages.1.content: ", "text or an `output_config`",
              messages=[HI, {"role": "system", "content": []}]),
    turns_are("a blank system turn", "messages.1.content: ",
              messages=[HI, {"role": "system", "content": " \n"}]),
    turns_are("a call by the system", "messages.1.content.0: ", "`text` blocks alone", "`tool_use`",
              messages=[HI, says("system", call())]),
    turns_are("thinking by the system", "messages.1.content.0: ", "`text` blocks alone",
              messages=[HI, says("system", {"type": "thinking", "thinking": "a",
              "signature": "b"})]),
    turns_are("clear_at of the user", "messages.0.clear_at: ", "only permitted on `system`",
              "'user'", messages=[HI | {"clear_at": "never"}]),
    turns_are("clear_at of no kind", "messages.1.clear_at: ", "'next_user_message'", '"later"',
              messages=[HI, SYSTEM | {"clear_at": "later"}]),
    turns_are("an effort of the user", "messages.0.output_config: ", "only permitted on `system`",
              messages=[HI | {"output_config": {"effort": "low"}}]),
    turns_are("a form of the system's", "messages.1.output_config.format: Extra",
              messages=[HI, SYSTEM | {"output_config": {"format": {"type": "json_schema"}}}]),
    turns_are("an effort of no kind in a system turn", "messages.1.output_config.effort: ", "'low'",
              messages=[HI, SYSTEM | {"output_config": {"effort": "huge"}}]),
    field_is("a call in the system text", "system.0: ", "'tool_use'", "accepted: text",
             system=[call()]),
    field_is("an image in the system text", "system.0: ", "`image`", system=[IMAGE]),
]  # fmt: skip


# --- thinking -------------------------------------------------------------------------------------


def thinking_is(name: str, /, *said: str, thinking: Any, **more: Any) -> Bad:
    return field_is(name, *said, **({"thinking": thinking, "max_tokens": 5_000} | more))


def thought_is(name: str, /, *said: str, block: dict[str, Any], role: str = "assistant") -> Bad:
    return turns_are(name, *said, messages=[HI, says(role, block, "so"), HI])


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "x"}
PREFILLED = [HI, says("assistant", "Once")]
THINKING = [
    thinking_is("thinking a string", "thinking: ", thinking="enabled"),
    thinking_is("thinking true", "thinking: ", thinking=True),
    thinking_is("thinking without type", "thinking.type: Field required",
                thinking={"budget_tokens": 2_000}),
    thinking_is("thinking of no kind", "thinking: ", "'deep'", "adaptive",
                thinking={"type": "deep"}),
    thinking_is("thinking between tools", "thinking: ",
                '"thinking.type.between_tools" is not supported for this model',
                thinking={"type": "between_tools"}),
    thinking_is("no budget", "thinking.budget_tokens: Field required",
                thinking={"type": "enabled"}),
    thinking_is("a budget of 1,023", "thinking.budget_tokens: ",
                "greater than or equal to 1024", "1023", thinking=THINK | {"budget_tokens": 1_023}),
    thinking_is("a negative budget", "thinking.budget_tokens: ",
                thinking=THINK | {"budget_tokens": -1}),
    thinking_is("a budget a string", "thinking.budget_tokens: ", "integer",
                thinking=THINK | {"budget_tokens": "2000"}),
    thinking_is("a budget null", "thinking.budget_tokens: ",
                thinking=THINK | {"budget_tokens": None}),
    thinking_is("a budget as large as max_tokens", "thinking.budget_tokens: ",
                "`max_tokens` must be greater than `thinking.budget_tokens`", "2000",
                thinking=THINK | {"budget_tokens": 2_000}, max_tokens=2_000),
    thinking_is("thinking with max_tokens 0", "thinking.budget_tokens: ", "greater than",
                thinking=THINK, max_tokens=0),
    thinking_is("a budget for adaptive", "thinking.budget_tokens: Extra",
                thinking={"type": "adaptive", "budget_tokens": 2_000}),
    thinking_is("a budget for disabled", "thinking.budget_tokens: Extra",
                thinking={"type": "disabled", "budget_tokens": 2_000}),
    thinking_is("an unknown display", "thinking.display: ", "'summarized' or 'omitted'", '"full"',
                thinking=THINK | {"display": "full"}),
    thinking_is("a display for disabled", "thinking.display: Extra",
                thinking={"type": "disabled", "display": "omitted"}),
    thinking_is("block_binding", "thinking.block_binding: Extra",
                thinking={"type": "adaptive", "block_binding": {}}),
    thinking_is("extended without a budget", "thinking.budget_tokens: Field required",
                thinking={"type": "extended"}),
    thinking_is("extended with a small budget", "thinking", "1024",
                thinking={"type": "extended", "budget": 100}),
    thinking_is("temperature with thinking", "temperature: ",
                "may only be set to 1 when thinking is enabled", "0.5", thinking=THINK,
                temperature=0.5),
    thinking_is("top_k with thinking", "top_k: ", "must be unset when thinking is enabled", "5",
                thinking=THINK, top_k=5),
    thinking_is("top_p with thinking", "top_p: ", "0.95", "0.5", thinking=THINK, top_p=0.5),
    thinking_is("a prefill with thinking", "messages.1.role: ", "pre-fill", "thinking",
                thinking=THINK, messages=PREFILLED),
    bad("thinking for a score", "thinking: ", "a score is without thinking",
        path="/v1/renga/score",
        body={"model": "haiku", "messages": [HI], "continuations": ["a"], "thinking": THINK}),
    thought_is("a thought by the user", "messages.1.content.0: ",
               "`thinking` blocks can only be in `assistant` messages", block=THOUGHT, role="user"),
    thought_is("a hidden thought by the user", "messages.1.content.0: ", "`redacted_thinking`",
               block={"type": "redacted_thinking", "data": "x"}, role="user"),
    thought_is("a thought without signature", "messages.1.content.0.signature: Field required",
               block=drop(THOUGHT, "signature")),
    thought_is("a thought without text", "messages.1.content.0.thinking: Field required",
               block=drop(THOUGHT, "thinking")),
    thought_is("a thought a number", "messages.1.content.0.thinking: ", "string",
               block=THOUGHT | {"thinking": 5}),
    thought_is("a thought with a mark", "messages.1.content.0.cache_control: Extra",
               block=THOUGHT | {"cache_control": MARK}),
    thought_is("a hidden thought without data", "messages.1.content.0.data: Field required",
               block={"type": "redacted_thinking"}),
    thought_is("a hidden thought with a mark", "messages.1.content.0.cache_control: Extra",
               block={"type": "redacted_thinking", "data": "x", "cache_control": MARK}),
]  # fmt: skip

# --- forms of answers -----------------------------------------------------------------------------


def form_is(name: str, /, *said: str, form: Any, **more: Any) -> Bad:
    return field_is(name, *said, output_config={"format": form}, **more)


JSON_FORM = {"type": "json_schema", "schema": ADD["input_schema"]}
OTHER_FORM = {"type": "json_schema", "schema": OBJECT}
FORMS = [
    field_is("output_config a string", "output_config: ", output_config="json"),
    field_is("output_config of more", "output_config.style: Extra", output_config={"style": "x"}),
    field_is("an effort of no kind", "output_config.effort: ", "'low'", '"extreme"',
             output_config={"effort": "extreme"}),
    field_is("an effort a number", "output_config.effort: ", output_config={"effort": 3}),
    field_is("a task budget", "output_config.task_budget: ", "not supported",
             output_config={"task_budget": {"type": "tokens", "total": 20_000}}),
    form_is("a form a string", "output_config.format: ", form="json"),
    form_is("a form without a schema", "output_config.format.schema: Field required",
            form={"type": "json_schema"}),
    form_is("a form's schema a string", "output_config.format.schema: ",
            form={"type": "json_schema", "schema": "object"}),
    form_is("a form with more", "output_config.format.name: Extra", form=JSON_FORM | {"name": "x"}),
    form_is("a form of another name", "output_config.format: ", "json_schema",
            form={"type": "json"}),
    form_is("a prefill with a form", "output_config.format: ", "final assistant message",
            form=JSON_FORM, messages=PREFILLED),
    field_is("an older form without a schema", "output_format.schema: Field required",
             output_format={"type": "json_schema"}),
    field_is("an older form of no kind", "output_format: ", output_format={"type": "xml"}),
    field_is("two forms", "output_format: ", "differs from `output_config.format`",
             output_config={"format": JSON_FORM}, output_format=OTHER_FORM),
    field_is("two forms in two dialects", "response_format: ", "differs from `output_format`",
             output_format=JSON_FORM, response_format={"type": "json_object"}),
    field_is("another dialect's form of no kind", "response_format: ", "json_object",
             response_format={"type": "grammar"}),
    field_is("another dialect's form without a schema", "response_format.json_schema: Field",
             response_format={"type": "json_schema"}),
    field_is("another dialect's form with an empty schema",
             "response_format.json_schema.schema: Field",
             response_format={"type": "json_schema", "json_schema": {"name": "x"}}),
    bad("a form for a score", "output_format: ", path="/v1/renga/score",
        body={"model": "haiku", "messages": [HI], "continuations": ["a"],
              "output_format": JSON_FORM}),
    bad("a choice for a score", "tool_choice: ", path="/v1/renga/score",
        body={"model": "haiku", "messages": [HI], "continuations": ["a"], "tools": [ADD],
              "tool_choice": {"type": "any"}}),
    field_is("a prefill with a forced call", "messages.1.role: ", "pre-fill", "forces tool use",
             messages=PREFILLED, tools=[ADD], tool_choice={"type": "any"}),
]  # fmt: skip


# --- edits of the context -------------------------------------------------------------------------


def edit_is(name: str, /, *said: str, edits: Any, **more: Any) -> Bad:
    return field_is(name, *said, context_management={"edits": edits}, **more)


CLEAR = {"type": "clear_tool_uses_20250919"}
FORGET = {"type": "clear_thinking_20251015"}
COMPACT = {"type": "compact_20260112"}
FIRST = "context_management.edits.0"
EDITS = [
    field_is("context_management a list", "context_management: ", context_management=[CLEAR]),
    field_is("context_management of more", "context_management.when: Extra",
             context_management={"when": "now"}),
    edit_is("edits an object", "context_management.edits: ", "list", edits=CLEAR),
    edit_is("an edit a string", f"{FIRST}: ", edits=["clear"]),
    edit_is("an edit without type", f"{FIRST}.type: Field required", edits=[{}]),
    edit_is("an edit of no kind", f"{FIRST}: ", "'clear_everything'", "clear_thinking_20251015",
            edits=[{"type": "clear_everything"}]),
    edit_is("an edit of more", f"{FIRST}.colour: Extra", edits=[CLEAR | {"colour": 1}]),
    edit_is("17 edits", "context_management.edits: ", "16", edits=[CLEAR] * 17),
    edit_is("an edit twice", "context_management.edits.1.type: ", "there already",
            edits=[CLEAR, CLEAR]),
    edit_is("thinking cleared second", "context_management.edits.1: ", "must be the first",
            edits=[CLEAR, FORGET]),
    edit_is("a trigger a number", f"{FIRST}.trigger: ", edits=[CLEAR | {"trigger": 5}]),
    edit_is("a trigger of no kind", f"{FIRST}.trigger.type: ", "'input_tokens'",
            edits=[CLEAR | {"trigger": {"type": "words", "value": 5}}]),
    edit_is("a trigger without a value", f"{FIRST}.trigger.value: Field required",
            edits=[CLEAR | {"trigger": {"type": "tool_uses"}}]),
    edit_is("a negative trigger", f"{FIRST}.trigger.value: ",
            edits=[CLEAR | {"trigger": {"type": "input_tokens", "value": -5}}]),
    edit_is("kept by tokens", f"{FIRST}.keep.type: ", "'tool_uses'",
            edits=[CLEAR | {"keep": {"type": "input_tokens", "value": 5}}]),
    edit_is("kept a number", f"{FIRST}.keep: ", edits=[CLEAR | {"keep": 3}]),
    edit_is("cleared at least by uses", f"{FIRST}.clear_at_least.type: ", "'input_tokens'",
            edits=[CLEAR | {"clear_at_least": {"type": "tool_uses", "value": 5}}]),
    edit_is("excluded a string", f"{FIRST}.exclude_tools: ", "list",
            edits=[CLEAR | {"exclude_tools": "add"}]),
    edit_is("cleared inputs a number", f"{FIRST}.clear_tool_inputs",
            edits=[CLEAR | {"clear_tool_inputs": 5}]),
    edit_is("no thinking turns kept", f"{FIRST}.keep.value: ", "1",
            edits=[FORGET | {"keep": {"type": "thinking_turns", "value": 0}}]),
    edit_is("thinking kept for ever", f"{FIRST}.keep: ", edits=[FORGET | {"keep": "for ever"}]),
    edit_is("compacted too early", f"{FIRST}.trigger.value: ", "50000",
            edits=[COMPACT | {"trigger": {"type": "input_tokens", "value": 49_999}}]),
    edit_is("compacted by uses", f"{FIRST}.trigger.type: ", "'input_tokens'",
            edits=[COMPACT | {"trigger": {"type": "tool_uses", "value": 60_000}}]),
    edit_is("a pause a string", f"{FIRST}.pause_after_compaction: ", "boolean",
            edits=[COMPACT | {"pause_after_compaction": "yes"}]),
    edit_is("instructions a list", f"{FIRST}.instructions: ", "string",
            edits=[COMPACT | {"instructions": ["short"]}]),
    edit_is("two ways to compact", "compaction: ", "`context_management`", edits=[],
            compaction={"type": "summarize"}),
    field_is("a compaction of no kind", "compaction.type: ", "'summarize'",
             compaction={"type": "forget"}),
    field_is("a compaction true", "compaction: ", compaction=True),
    turns_are("an empty compaction", "messages.1.content.0.content: ",
              messages=[HI, says("assistant", {"type": "compaction", "content": ""}), HI]),
    turns_are("a compaction with changes of tools", "messages.1.content.0.tool_changes: ",
              "not supported",
              messages=[HI, says("assistant", {"type": "compaction", "content": "so far",
                                               "tool_changes": [{}]}), HI]),
]  # fmt: skip


# --- hostile sizes and shapes ---------------------------------------------------------------------


def nested(levels: int, key: str) -> Any:
    """Content in content in content."""
    inner: Any = "deep"
    for _ in range(levels):
        inner = [{"type": key, "tool_use_id": "a", "content": inner}]
    return inner


def deep_schema(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "wrong"}
    for _ in range(levels):
        inner = {"type": "object", "properties": {"a": inner}}
    return inner


LONG = "x" * 10_000_000
GOOD = json.dumps(asking(tools=[ADD])).encode()
HOSTILE = [
    raw("a key twice in a tool's schema", "body: ", 'duplicate key "a"',
        content=GOOD.replace(b'"properties": {', b'"properties": {"a": {}, ')),
    raw("a schema that is not UTF-8", "body: ", "valid JSON",
        content=GOOD.replace(b"Adds", b"\xc3\x28")),
    raw("half a character in a tool's text", "body: ", "valid JSON",
        content=GOOD.replace(b"Adds", b"\\udc00")),
    raw("tools 201 levels deep", "body: ", "recursion",
        content=b'{"tools": ' + b"[" * 201 + b"]" * 201 + b"}"),
    turns_are("results 30 levels deep", "messages.0.content.0.content.0: ", "'tool_result'",
              messages=[{"role": "user", "content": nested(30, "tool_result")}]),
    turns_are("text 30 levels deep", "messages.0.content.0.text: ",
              messages=[says("user", {"type": "text", "text": nested(30, "text")})]),
    tool_is("a schema 30 levels deep with a flaw at its end", "tools.0.input_schema.properties.a",
            "draft 2020-12", input_schema=deep_schema(30)),
    field_is("a model of 10 MB", "model: ", "256", model=LONG),
    field_is("a role of 10 MB", "messages.0.role: ", messages=[{"role": LONG, "content": "hi"}]),
    field_is("a type of 10 MB", "messages.0.content.0: ", messages=[says("user", {"type": LONG})]),
    field_is("a key of 10 MB", "xxxx", "Extra inputs are not permitted", **{LONG: 1}),
    field_is("a tool's name of 10 MB", "tools.0.name: ", tools=[ADD | {"name": LONG}]),
    talk_is("an id of 10 MB", "messages.1.content.0.id: ",
            turns=[HI, says("assistant", call(LONG)), HI]),
    talk_is("100,000 calls without results", "messages.1: ", "and 99980 more",
            turns=[HI, says("assistant", *(call(f"t{i}") for i in range(100_000))), HI]),
    tool_is("a schema of 100,000 properties with a flaw",
            "tools.0.input_schema.properties.p99999.type: ",
            input_schema={"type": "object", "properties": {
                **{f"p{i}": {} for i in range(99_999)}, "p99999": {"type": "no"}}}),
]  # fmt: skip

CASES = [
    *TOOLS, *SCHEMAS, *CLIENT_TOOLS, *STRICT, *CHOICES, *CALLS, *SEARCHES, *SYSTEMS, *THINKING,
    *FORMS, *EDITS, *HOSTILE,
]  # fmt: skip
