"""Command R7B's form: a JSON list of actions, with names of keys that are its own.

Source: "Command R7B: tool use", and the model's chat template.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.json_calls import JsonCalls

COHERE = Form(
    name="cohere",
    shape=JsonCalls(name="tool_name", arguments="parameters"),
    marks=("<|START_ACTION|>",),
    before="<|START_ACTION|>[\n    ",
    between=",\n    ",
    after="\n]<|END_ACTION|>",
    end="<|END_ACTION|>",
    opening="<|START_TEXT|>",
)
