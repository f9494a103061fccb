"""DeepSeek's forms: a name and JSON between marks of their own, fenced in R1 and V3, bare in V3.1;
and since V3.2 a tag around each argument.

Their templates up to V3.1 show calls and results, and no tools: those are told in the system text.
Source: the models' chat templates, and "Tool call" in the model card of DeepSeek-V3.1.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.named_calls import NamedCalls
from renga.chat.forms.tagged_calls import TaggedCalls

_CALLS, _CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_TOLD = """\
## Tools
You have access to the following tools:

{tools}

To call tools, answer with nothing but this:
"""

DEEPSEEK = Form(
    name="deepseek",
    shape=NamedCalls(
        head=rf"\s*(?:{_CALL})?\s*function{_SEP}(?P<name>[\w-]+)\s*```(?:json)?\s*",
        behind="\n```json\n",
    ),
    marks=(_CALLS, _CALL),
    before=f"{_CALLS}{_CALL}function{_SEP}",
    between=f"\n```{_CALL_END}\n{_CALL}function{_SEP}",
    after=f"\n```{_CALL_END}{_CALLS_END}",
    end=_CALLS_END,
    prompt=f"{_TOLD}{_CALLS}{_CALL}function{_SEP}NAME\n```json\nARGUMENTS\n```{_CALL_END}{_CALLS_END}",
)
DEEPSEEK_BARE = Form(
    name="deepseek-bare",
    shape=NamedCalls(head=rf"\s*(?:{_CALL})?\s*(?P<name>[\w-]+){_SEP}\s*", behind=_SEP),
    marks=(_CALLS, _CALL),
    before=f"{_CALLS}{_CALL}",
    between=f"{_CALL_END}{_CALL}",
    after=f"{_CALL_END}{_CALLS_END}",
    end=_CALLS_END,
    prompt=f"{_TOLD}{_CALLS}{_CALL}NAME{_SEP}ARGUMENTS{_CALL_END}{_CALLS_END}",
)


def _dsml(block: str) -> Form:
    """The form of V3.2 and V4, which differ in what they call the block of calls."""
    begin, end = f"<｜DSML｜{block}>", f"</｜DSML｜{block}>"
    return Form(
        name=f"deepseek-{block.replace('_', '-')}",
        shape=TaggedCalls(
            head='<｜DSML｜invoke name="{name}">\n',
            opens='<｜DSML｜parameter name="{key}" string="{kind}">',
            closes="</｜DSML｜parameter>\n",
            end="</｜DSML｜invoke>",
            typed=("true", "false"),
            many=True,
        ),
        marks=(begin,),
        before=f"{begin}\n",
        between="\n",
        after=f"\n{end}",
        end=end,
    )


DEEPSEEK_TAGGED = _dsml("function_calls")
DEEPSEEK_TAGGED_4 = _dsml("tool_calls")
