"""gpt-oss's form, harmony: an answer is messages on channels, a call is one sent to a tool.

What is thought goes to the channel `analysis`, calls to `commentary`, the answer to `final`. One
call ends the turn. Source: OpenAI's "harmony response format", and the models' chat template.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.named_calls import NamedCalls

_NAME = r"(?P<name>[\w-]+)"

HARMONY = Form(
    name="harmony",
    shape=NamedCalls(
        # The recipient stands before the channel or behind it.
        head=rf"{_NAME}\s*(?:<\|channel\|>commentary)?\s*(?:<\|constrain\|>)?\s*(?:json)?\s*"
        r"<\|message\|>\s*",
        behind=" <|constrain|>json<|message|>",
    ),
    marks=(
        "<|channel|>commentary to=functions.",
        "<|channel|>analysis to=functions.",
        " to=functions.",
    ),
    before="<|channel|>commentary to=functions.",
    opening="<|channel|>final<|message|>",
    quiet="<|constrain|>",
    parallel=False,
)
