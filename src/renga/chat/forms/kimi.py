"""Kimi K2's form: `functions.NAME:N` and a JSON object between marks of their own.

Source: "Tool use guidance" in its model card, and its chat template.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.named_calls import NamedCalls

_BEGIN, _END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _CALL_END = "<|tool_call_begin|>", "<|tool_call_end|>"

KIMI = Form(
    name="kimi",
    shape=NamedCalls(
        head=r"\s*(?:<\|tool_call_begin\|>)?\s*(?:functions\.)?(?P<name>[\w-]+)(?::\d+)?\s*"
        r"<\|tool_call_argument_begin\|>\s*",
        behind=":0<|tool_call_argument_begin|>",
    ),
    marks=(_BEGIN, _CALL),
    before=f"{_BEGIN}{_CALL}functions.",
    between=f"{_CALL_END}{_CALL}functions.",
    after=f"{_CALL_END}{_END}",
    end=_END,
)
