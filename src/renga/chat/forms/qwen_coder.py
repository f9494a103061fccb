"""Qwen3-Coder's form: XML with `<function=NAME>` and `<parameter=KEY>`; and others much like it.

Qwen 3.5, Nemotron 3, Step 3.5 write it too; Seed-OSS and MiniMax M2 with tags of their own. Source:
the models' chat templates.
"""

from __future__ import annotations

from renga.chat.forms.base import Form
from renga.chat.forms.tagged_calls import TaggedCalls

QWEN_CODER = Form(
    name="qwen-coder",
    shape=TaggedCalls(
        head="<function={name}>\n",
        opens="<parameter={key}>\n",
        closes="\n</parameter>\n",
        end="</function>",
    ),
    marks=("<tool_call>",),
    before="<tool_call>\n",
    between="\n</tool_call>\n<tool_call>\n",
    after="\n</tool_call>",
    end="</tool_call>",
)
SEED = Form(
    name="seed",
    shape=TaggedCalls(
        head="<function={name}>\n",
        opens="<parameter={key}>",
        closes="</parameter>\n",
        end="</function>",
    ),
    marks=("<seed:tool_call>",),
    before="<seed:tool_call>\n",
    between="\n</seed:tool_call>\n<seed:tool_call>\n",
    after="\n</seed:tool_call>",
    end="</seed:tool_call>",
)
MINIMAX = Form(
    name="minimax",
    shape=TaggedCalls(
        head='<invoke name="{name}">\n',
        opens='<parameter name="{key}">',
        closes="</parameter>\n",
        end="</invoke>",
        many=True,
    ),
    marks=("<minimax:tool_call>",),
    before="<minimax:tool_call>\n",
    between="\n",
    after="\n</minimax:tool_call>",
    end="</minimax:tool_call>",
)
