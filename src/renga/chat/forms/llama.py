"""Llama 3's form: the answer is a JSON object with `name` and `parameters`, and nothing else.

One call in an answer. `<|python_tag|>` may stand before it. Source: Meta's "Llama 3.1: JSON based
tool calling", and the models' chat templates.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.json_calls import JsonCalls

LLAMA = Form(
    name="llama",
    shape=JsonCalls(arguments="parameters", known=True),
    marks=("<|python_tag|>",),
    bare=True,
    parallel=False,
)
