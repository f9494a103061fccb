"""Gemma's forms: `call:NAME{...}` between marks, in Gemma 4 and in FunctionGemma.

Gemma 2 and 3 have no form of calls of their own. Source: "Function calling with Gemma", and the
models' chat templates.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.gemma_calls import GemmaCalls


def _gemma(name: str, begin: str, end: str, quote: str) -> Form:
    return Form(
        name=name,
        shape=GemmaCalls(quote, end),
        marks=(begin,),
        before=begin,
        between=begin,
        end=end,
    )


GEMMA = _gemma("gemma", "<|tool_call>", "<tool_call|>", '<|"|>')
FUNCTION_GEMMA = _gemma(
    "function-gemma", "<start_function_call>", "<end_function_call>", "<escape>"
)
