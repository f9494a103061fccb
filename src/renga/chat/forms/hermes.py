"""Hermes' form: a JSON object between `<tool_call>` and its end.

Qwen 2.5 and 3, Hermes, Granite 4, the shipped models, and many more write calls so. Source: "Hermes
function calling", and these models' chat templates.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.json_calls import JsonCalls

HERMES = Form(
    name="hermes",
    shape=JsonCalls(),
    marks=("<tool_call>",),
    before="<tool_call>\n",
    between="\n</tool_call>\n<tool_call>\n",
    after="\n</tool_call>",
    end="</tool_call>",
)
