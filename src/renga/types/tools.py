"""Tools of a request, and how the model may choose among them.

Owns the fields of custom tools, of the client tools that the API publishes and of tool search, and
which tools of the API are refused by name. What a client tool's schema is, `renga.toolkit` says.
Source: the tool types of the official `anthropic` package, 2.12, beta included.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from renga.types.blocks import TOOL_NAME, CacheControl
from renga.types.wire import Flag, Wire, known_types, refusal, tag_or

MAX_TOOLS = 10_000  # of the API's tool search; a request cannot use more
MAX_EXAMPLES = 100  # of one tool; ours

# The other callers of the API are its code execution, which does not run here.
DirectOnly = Literal["direct"]


class _Offered(Wire):
    """What every tool with a name of its own may say."""

    cache_control: CacheControl | None = None
    defer_loading: Flag = False
    strict: Flag = False
    allowed_callers: list[DirectOnly] | None = None


class _Shown(_Offered):
    """What tools that a client runs may say besides."""

    input_examples: Annotated[list[dict[str, Any]], Field(max_length=MAX_EXAMPLES)] | None = None


def _null_parts_are_absent(value: Any) -> Any:
    """The official types allow null for these two of a schema, where JSON Schema does not."""
    if not isinstance(value, dict):
        return value
    return {k: v for k, v in value.items() if v is not None or k not in ("properties", "required")}


class CustomTool(_Shown):
    """A tool that the caller defines. Its schema is judged by `renga.conversation`."""

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(pattern=TOOL_NAME)]
    description: str | None = None
    input_schema: Annotated[dict[str, Any], BeforeValidator(_null_parts_are_absent)]
    eager_input_streaming: bool | None = None


class BashTool(_Shown):
    """A shell of the caller."""

    type: Literal["bash_20250124"]
    name: Literal["bash"]


class OldTextEditorTool(_Shown):
    """An editor of the caller's files, by its first name."""

    type: Literal["text_editor_20250124"]
    name: Literal["str_replace_editor"]


class TextEditorTool(_Shown):
    """An editor of the caller's files. `max_characters`: of a view, told to the caller's code."""

    type: Literal["text_editor_20250429", "text_editor_20250728"]
    name: Literal["str_replace_based_edit_tool"]
    max_characters: Annotated[int, Field(ge=1)] | None = None

    @field_validator("max_characters")
    @classmethod
    def _newest_counts(cls, value: int | None, tool: ValidationInfo) -> int | None:
        if value is not None and tool.data.get("type") != "text_editor_20250728":
            raise refusal("unsupported", "only text_editor_20250728 has it; leave it out")
        return value


class MemoryTool(_Shown):
    """A folder of notes that the caller keeps."""

    type: Literal["memory_20250818"]
    name: Literal["memory"]


class ComputerTool(_Shown):
    """A screen, a pointer and a keyboard of the caller. Sizes are pixels."""

    type: Literal["computer_20241022", "computer_20250124", "computer_20251124"]
    name: Literal["computer"]
    display_width_px: Annotated[int, Field(ge=1, le=100_000)]
    display_height_px: Annotated[int, Field(ge=1, le=100_000)]
    display_number: Annotated[int, Field(ge=0)] | None = None
    enable_zoom: Flag = False

    @field_validator("enable_zoom")
    @classmethod
    def _newest_zooms(cls, value: bool, tool: ValidationInfo) -> bool:
        if value and tool.data.get("type") != "computer_20251124":
            raise refusal("unsupported", "only computer_20251124 has it; leave it out")
        return value


ComputerMember = Literal[
    "cursor_position",
    "double_click",
    "hold_key",
    "key",
    "left_click",
    "left_click_drag",
    "left_mouse_down",
    "left_mouse_up",
    "middle_click",
    "mouse_move",
    "right_click",
    "screenshot",
    "scroll",
    "triple_click",
    "type",
    "wait",
    "zoom",
]


class MemberConfig(Wire):
    """Whether one member of a toolset is offered, and when. Null leaves it as published."""

    enabled: bool | None = None
    defer_loading: bool | None = None


class ComputerToolset(Wire):
    """The computer as one tool for each action."""

    type: Literal["computer_toolset_20260801"]
    cache_control: CacheControl | None = None
    configs: dict[ComputerMember, MemberConfig | None] | None = None


class ToolSearchTool(_Offered):
    """A search among deferred tools, which the server runs."""

    type: Literal[
        "tool_search_tool_regex_20251119",
        "tool_search_tool_regex",
        "tool_search_tool_bm25_20251119",
        "tool_search_tool_bm25",
    ]
    name: Literal["tool_search_tool_regex", "tool_search_tool_bm25"]


ClientTool = (
    BashTool | OldTextEditorTool | TextEditorTool | MemoryTool | ComputerTool | ComputerToolset
)
AnyTool = CustomTool | ClientTool | ToolSearchTool

_MEMBERS: dict[type[Wire], tuple[str, ...]] = {
    BashTool: ("bash_20250124",),
    OldTextEditorTool: ("text_editor_20250124",),
    TextEditorTool: ("text_editor_20250429", "text_editor_20250728"),
    MemoryTool: ("memory_20250818",),
    ComputerTool: ("computer_20241022", "computer_20250124", "computer_20251124"),
    ComputerToolset: ("computer_toolset_20260801",),
    ToolSearchTool: (
        "tool_search_tool_regex_20251119",
        "tool_search_tool_regex",
        "tool_search_tool_bm25_20251119",
        "tool_search_tool_bm25",
    ),
}
SUPPORTED_TOOLS = ("custom", *(kind for kinds in _MEMBERS.values() for kind in kinds))
_CLASS_OF = {kind: cls.__name__ for cls, kinds in _MEMBERS.items() for kind in kinds}


def _not_run(what: str, *kinds: str) -> dict[str, str]:
    return {kind: f"`{kind}`: {what}" for kind in kinds}


# Tools of the API that are not honoured, and the sentence for each.
UNSUPPORTED_TOOLS: dict[str, str] = {
    **_not_run(
        "this server does not search the web; define a tool of your own",
        "web_search_20250305",
        "web_search_20260209",
        "web_search_20260318",
    ),
    **_not_run(
        "this server does not fetch pages; define a tool of your own",
        "web_fetch_20250910",
        "web_fetch_20260209",
        "web_fetch_20260309",
        "web_fetch_20260318",
    ),
    **_not_run(
        "this server does not run code; define a tool of your own",
        "code_execution_20250522",
        "code_execution_20250825",
        "code_execution_20260120",
        "code_execution_20260521",
    ),
    **_not_run("MCP servers are not supported by this server", "mcp_toolset"),
    **_not_run("advisors are not supported by this server", "advisor_20260301"),
    **_not_run("the browser is not supported by this server", "browser_toolset_20260801"),
    **_not_run("it was replaced by bash_20250124", "bash_20241022"),
    **_not_run("it was replaced by text_editor_20250124", "text_editor_20241022"),
}


def _tag(value: Any) -> Any:
    kind = tag_or("custom")(value)
    return _CLASS_OF.get(kind, kind) if isinstance(kind, str) else kind


Tool = Annotated[
    Annotated[
        Annotated[CustomTool, Tag("custom")]
        | Annotated[BashTool, Tag("BashTool")]
        | Annotated[OldTextEditorTool, Tag("OldTextEditorTool")]
        | Annotated[TextEditorTool, Tag("TextEditorTool")]
        | Annotated[MemoryTool, Tag("MemoryTool")]
        | Annotated[ComputerTool, Tag("ComputerTool")]
        | Annotated[ComputerToolset, Tag("ComputerToolset")]
        | Annotated[ToolSearchTool, Tag("ToolSearchTool")],
        Discriminator(
            _tag,
            custom_error_type="tool_unknown",
            custom_error_message="Input should be an object with a name and an input_schema",
        ),
    ],
    known_types("tool", SUPPORTED_TOOLS, UNSUPPORTED_TOOLS),
]


# --- choice ---------------------------------------------------------------------------------------


class AutoChoice(Wire):
    """The model decides whether it calls; at most once where parallel calls are disabled."""

    type: Literal["auto"] = "auto"
    disable_parallel_tool_use: Flag = False


class AnyChoice(Wire):
    """The model calls some tool; exactly once where parallel calls are disabled."""

    type: Literal["any"] = "any"
    disable_parallel_tool_use: Flag = False


class NamedChoice(Wire):
    """The model calls the tool `name`; exactly once where parallel calls are disabled."""

    type: Literal["tool"] = "tool"
    name: Annotated[str, Field(min_length=1, max_length=200)]
    disable_parallel_tool_use: Flag = False


class NoChoice(Wire):
    """The model calls no tool."""

    type: Literal["none"] = "none"


ToolChoice = Annotated[AutoChoice | AnyChoice | NamedChoice | NoChoice, Discriminator("type")]
