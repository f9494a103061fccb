"""What a model writes: text, and the calls of tools in it. One file for each form of calls.

Owns the table of the forms that are understood. `Reader` reads an answer by one of them.
"""

from __future__ import annotations

from renga.chat.forms.base import Form, Tool, Unfollowable, Words
from renga.chat.forms.cohere import COHERE
from renga.chat.forms.deepseek import DEEPSEEK, DEEPSEEK_BARE, DEEPSEEK_TAGGED, DEEPSEEK_TAGGED_4
from renga.chat.forms.gemma import FUNCTION_GEMMA, GEMMA
from renga.chat.forms.glm import GLM, GLM_TIGHT
from renga.chat.forms.harmony import HARMONY
from renga.chat.forms.hermes import HERMES
from renga.chat.forms.kimi import KIMI
from renga.chat.forms.llama import LLAMA
from renga.chat.forms.mistral import MISTRAL, MISTRAL_NAMED
from renga.chat.forms.parts import CallBegin, CallEnd, CallJson, Part, Text
from renga.chat.forms.phi import APRIEL, NEMOTRON, PHI
from renga.chat.forms.qwen_coder import MINIMAX, QWEN_CODER, SEED
from renga.chat.forms.reader import Reader

__all__ = [
    "FORMS",
    "HERMES",
    "CallBegin",
    "CallEnd",
    "CallJson",
    "Form",
    "Part",
    "Reader",
    "Text",
    "Tool",
    "Unfollowable",
    "Words",
]

# One line for each form; the first that reads a template's calls is the template's. Forms that
# share a mark stand so that the one which shows more of itself in the template is asked first.
FORMS: tuple[Form, ...] = (
    HERMES,
    QWEN_CODER,
    GLM,
    GLM_TIGHT,
    MISTRAL,
    MISTRAL_NAMED,
    DEEPSEEK,
    DEEPSEEK_BARE,
    DEEPSEEK_TAGGED,
    DEEPSEEK_TAGGED_4,
    HARMONY,
    GEMMA,
    FUNCTION_GEMMA,
    PHI,
    NEMOTRON,
    APRIEL,
    SEED,
    MINIMAX,
    KIMI,
    COHERE,
    LLAMA,
)
