"""Tools that the API knows and callers run: shell, text editor, memory, computer.

Owns the published schemas of those tool types: which commands and actions each version has, and
which arguments each of them takes. A tool with several commands is a union of one object for each,
so that a call that matches always carries what its command needs. The descriptions are ours. Knows
no requests and no prompts.

Source: the argument tables of the API's documentation, and the `*Input` and `*Command` types of the
official `anthropic` package, 2.12.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}


def numbers(count: int) -> Schema:
    """A list of exactly `count` integers."""
    return {"type": "array", "items": WHOLE, "minItems": count, "maxItems": count}


def record(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def one_of(word: str, forms: dict[str, tuple[Schema, tuple[str, ...]]]) -> Schema:
    """A union of objects that the constant under `word` tells apart.

    `forms` maps that constant to the other properties and the names of those that are required.
    """
    return {
        "type": "object",
        "anyOf": [
            record({word: {"const": name}, **properties}, (word, *required))
            for name, (properties, required) in forms.items()
        ],
    }


# --- bash -----------------------------------------------------------------------------------------

BASH_DESCRIPTION: Final = (
    "Run a command in a bash shell that stays open between calls, and return what it prints. "
    "Give `command` to run something, or `restart` to begin with a fresh shell."
)

BASH_SCHEMA: Final[Schema] = {
    "type": "object",
    "anyOf": [
        record({"command": {**TEXT, "description": "What to run"}}, ("command",)),
        record({"restart": {"const": True, "description": "Start the shell anew"}}, ("restart",)),
    ],
}

# --- text editor ----------------------------------------------------------------------------------

_PATH: Final[Schema] = {**TEXT, "description": "Absolute path of a file or folder"}
_RANGE: Final[Schema] = {
    **numbers(2),
    "description": "First and last line to show, counted from 1; -1 as the last means the end",
}
_LINE: Final[Schema] = {**WHOLE, "description": "Line after which to insert; 0 is the beginning"}

# What the text of `insert` is called. The older types say `new_str`; from 20250728 on it is
# `insert_text` (anthropic-sdk-python issue 1155: the documentation was wrong, the calls are so).
_INSERTED: Final[dict[str, str]] = {
    "text_editor_20250124": "new_str",
    "text_editor_20250429": "new_str",
    "text_editor_20250728": "insert_text",
}


def editor_description(kind: str, most_characters: int | None) -> str:
    """What the editor of type `kind` does. `most_characters` is how much of a file it shows."""
    undo = ", `undo_edit` takes back the last edit" if _can_undo(kind) else ""
    shown = f" At most {most_characters} characters of a file are shown." if most_characters else ""
    return (
        "View and edit text files. `view` shows a file with line numbers, or lists a folder; "
        "`create` writes a new file; `str_replace` replaces text that occurs exactly once; "
        f"`insert` adds text after a line{undo}.{shown}"
    )


def editor_schema(kind: str) -> Schema:
    """Arguments of the text editor of type `kind`."""
    forms: dict[str, tuple[Schema, tuple[str, ...]]] = {
        "view": ({"path": _PATH, "view_range": _RANGE}, ("path",)),
        "create": ({"path": _PATH, "file_text": TEXT}, ("path", "file_text")),
        # Without new_str the text is deleted.
        "str_replace": ({"path": _PATH, "old_str": TEXT, "new_str": TEXT}, ("path", "old_str")),
        "insert": (
            {"path": _PATH, "insert_line": _LINE, _INSERTED[kind]: TEXT},
            ("path", "insert_line", _INSERTED[kind]),
        ),
    }
    if _can_undo(kind):
        forms["undo_edit"] = ({"path": _PATH}, ("path",))
    return one_of("command", forms)


def _can_undo(kind: str) -> bool:
    return kind == "text_editor_20250124"


# --- memory ---------------------------------------------------------------------------------------

MEMORY_DESCRIPTION: Final = (
    "Read and write files under /memories, which outlive this conversation. Look there with `view` "
    "before you begin, and write down what will be needed later. `create` writes a file, "
    "`str_replace` and `insert` change one, `delete` and `rename` work on files and folders."
)

_MEMORY: Final[Schema] = {**TEXT, "description": "A path under /memories"}

MEMORY_SCHEMA: Final[Schema] = one_of(
    "command",
    {
        "view": ({"path": _MEMORY, "view_range": _RANGE}, ("path",)),
        "create": ({"path": _MEMORY, "file_text": TEXT}, ("path", "file_text")),
        "str_replace": (
            {"path": _MEMORY, "old_str": TEXT, "new_str": TEXT},
            ("path", "old_str", "new_str"),
        ),
        "insert": (
            {"path": _MEMORY, "insert_line": _LINE, "insert_text": TEXT},
            ("path", "insert_line", "insert_text"),
        ),
        "delete": ({"path": _MEMORY}, ("path",)),
        "rename": ({"old_path": _MEMORY, "new_path": _MEMORY}, ("old_path", "new_path")),
    },
)

# --- computer -------------------------------------------------------------------------------------

_POINT: Final[Schema] = {**numbers(2), "description": "x and y in pixels from the top left corner"}
_KEYS: Final[Schema] = {**TEXT, "description": "Key or combination, such as Return or ctrl+s"}
_HELD: Final[Schema] = {**TEXT, "description": "Keys to hold down meanwhile, such as shift"}
_SECONDS: Final[Schema] = {**WHOLE, "description": "Seconds"}
_CLICK: Final[tuple[Schema, tuple[str, ...]]] = ({"coordinate": _POINT, "text": _HELD}, ())
_DRAG: Final[Schema] = {"start_coordinate": _POINT, "coordinate": _POINT}

Member = tuple[str, Schema, tuple[str, ...]]
"""What an action does, its arguments, and which of them are required."""

# In the order of the SDK's table of member names.
MEMBERS: Final[dict[str, Member]] = {
    "key": (
        "Press a key or a combination of keys.",
        {"text": _KEYS, "repeat": {**WHOLE, "description": "How often; once where it is left out"}},
        ("text",),
    ),
    "hold_key": (
        "Hold a key or a combination of keys down for some seconds.",
        {"text": _KEYS, "duration": _SECONDS},
        ("text", "duration"),
    ),
    "type": ("Type a text.", {"text": TEXT}, ("text",)),
    "cursor_position": ("Tell where the mouse pointer is.", {}, ()),
    "mouse_move": ("Move the pointer without clicking.", {"coordinate": _POINT}, ("coordinate",)),
    "left_mouse_down": ("Press the left mouse button and keep it down.", {}, ()),
    "left_mouse_up": ("Let the left mouse button go.", {}, ()),
    "left_click": ("Click the left button at a point, or where the pointer is.", *_CLICK),
    "left_click_drag": (
        "Drag with the left button from one point to another.",
        {**_DRAG, "text": _HELD},
        tuple(_DRAG),
    ),
    "right_click": ("Click the right button at a point, or where the pointer is.", *_CLICK),
    "middle_click": ("Click the middle button at a point, or where the pointer is.", *_CLICK),
    "double_click": ("Double-click at a point, or where the pointer is.", *_CLICK),
    "triple_click": ("Triple-click at a point, or where the pointer is.", *_CLICK),
    "scroll": (
        "Scroll at a point, or where the pointer is.",
        {
            "coordinate": _POINT,
            "scroll_direction": {"enum": ["up", "down", "left", "right"]},
            "scroll_amount": {**WHOLE, "description": "Clicks of the wheel"},
            "text": _HELD,
        },
        ("scroll_direction", "scroll_amount"),
    ),
    "wait": ("Do nothing for some seconds.", {"duration": _SECONDS}, ("duration",)),
    "screenshot": ("Take a picture of the whole screen.", {}, ()),
    "zoom": (
        "Take a picture of a part of the screen, enlarged.",
        {"region": {**numbers(4), "description": "x0, y0, x1, y1 in pixels of the whole screen"}},
        ("region",),
    ),
}

_FIRST_ACTIONS: Final = (
    "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click",
    "double_click", "screenshot", "cursor_position",
)  # fmt: skip


def computer_actions(kind: str, *, zoom: bool) -> tuple[str, ...]:
    """The actions of the computer tool of type `kind`; `zoom` is offered only where asked for."""
    if kind == "computer_20241022":
        return _FIRST_ACTIONS
    return tuple(name for name in MEMBERS if name != "zoom" or (zoom and "20251124" in kind))


def computer_description(kind: str, width: int, height: int, *, zoom: bool) -> str:
    """What the computer tool does on a screen of `width` x `height` pixels."""
    actions = computer_actions(kind, zoom=zoom)
    lines = [f"- {name}: {MEMBERS[name][0]}" for name in actions]
    return "\n".join(
        [f"Use a computer by mouse and keyboard. Its screen is {width}x{height} pixels.", *lines]
    )


def computer_schema(kind: str, *, zoom: bool) -> Schema:
    """Arguments of the computer tool of type `kind`."""
    forms = {}
    for name in computer_actions(kind, zoom=zoom):
        _, properties, required = MEMBERS[name]
        if kind == "computer_20241022":
            # Its clicks happen where the pointer is, and its drags begin there.
            properties = {k: v for k, v in properties.items() if _is_in_first(name, k)}
            required = tuple(k for k in required if k in properties)
        forms[name] = (properties, required)
    return one_of("action", forms)


def _is_in_first(action: str, argument: str) -> bool:
    if action in ("key", "type"):
        return argument == "text"
    return argument == "coordinate" and not action.endswith("_click")


TOOLSET: Final = "computer"
"""What the calls of members of the computer toolset carry as `toolset_name`."""

# --- tool search ----------------------------------------------------------------------------------

LONGEST_PATTERN: Final = 200
"""Characters of a pattern: the API's limit."""
LONGEST_QUERY: Final = 500
"""Characters of a query in words; ours."""

SEARCHES: Final[dict[str, tuple[str, Schema]]] = {
    "tool_search_tool_regex": (
        "Find tools that are not shown here. `pattern` is a regular expression in Python's syntax; "
        "it is looked for in the names and descriptions of tools and of their arguments. Begin it "
        "with (?i) to ignore case.",
        record({"pattern": {**TEXT, "maxLength": LONGEST_PATTERN}}, ("pattern",)),
    ),
    "tool_search_tool_bm25": (
        "Find tools that are not shown here. `query` says in plain words what the tool should do.",
        record({"query": {**TEXT, "maxLength": LONGEST_QUERY}}, ("query",)),
    ),
}
"""Description and arguments of the searches, by name. The server runs them: `toolkit.search`."""
