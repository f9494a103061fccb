"""Phi 4 mini's form: a JSON list between `<|tool_call|>` and its end.

Source: "Tool enabled function-calling format" in its model card. Its template writes tools from the
system message alone and calls not at all; see `lists` for the same form under other marks.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.json_calls import JsonCalls


def _listed(name: str, begin: str, end: str) -> Form:
    return Form(
        name=name,
        shape=JsonCalls(),
        marks=(begin,),
        before=f"{begin}[",
        between=", ",
        after=f"]{end}",
        end=end,
    )


PHI = _listed("phi", "<|tool_call|>", "<|/tool_call|>")
NEMOTRON = _listed("nemotron", "<TOOLCALL>", "</TOOLCALL>")
APRIEL = _listed("apriel", "<tool_calls>", "</tool_calls>")
