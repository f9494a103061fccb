"""GLM's form: a name between `<tool_call>` and its end, and a pair of tags for each argument.

GLM 4.5 and later, Ling and Laguna write calls so, some with line breaks and some without. Source:
the models' chat templates.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.tagged_calls import TaggedCalls


def _glm(name: str, line: str) -> Form:
    """The form with that between its parts."""
    return Form(
        name=name,
        shape=TaggedCalls(
            head=f"{{name}}{line}",
            opens=f"<arg_key>{{key}}</arg_key>{line}<arg_value>",
            closes=f"</arg_value>{line}",
            end="</tool_call>",
        ),
        marks=("<tool_call>",),
        before="<tool_call>",
        between=f"{line}<tool_call>",
    )


GLM = _glm("glm", "\n")
GLM_TIGHT = _glm("glm-tight", "")
