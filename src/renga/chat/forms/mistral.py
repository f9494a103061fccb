"""Mistral's two forms: a JSON list behind `[TOOL_CALLS]`, and since 2025 `NAME[ARGS]{...}` there.

Source: "Tokenization" of Mistral's documentation (v3 and v13), and the models' chat templates.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.json_calls import JsonCalls
from renga.chat.forms.named_calls import NamedCalls

MISTRAL = Form(
    name="mistral",
    shape=JsonCalls(),
    marks=("[TOOL_CALLS]",),
    before="[TOOL_CALLS][",
    between=", ",
    after="]",
)
# Some releases write an id of the call before its arguments; it says nothing that the API tells.
MISTRAL_NAMED = Form(
    name="mistral-named",
    shape=NamedCalls(head=r"\s*(?P<name>[\w-]+)(?:\[CALL_ID\]\w*)?\[ARGS\]\s*", behind="[ARGS]"),
    marks=("[TOOL_CALLS]",),
    before="[TOOL_CALLS]",
    between="[TOOL_CALLS]",
)
