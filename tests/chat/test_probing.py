"""A model's own forms, found by what its chat template renders."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import pytest

from renga.chat.forms import FORMS, HERMES, Form
from renga.chat.probing import Forms, ThoughtMarks, form_of, forms_of
from renga.chat.template import ModelTemplate
from tests.chat.templates import HERMES as HERMES_TEMPLATE
from tests.chat.templates import LLAMA, MISTRAL, TYPED
from tests.tiny_model import MARKS, SPECIAL, TEMPLATE
from training.vocabulary import TEMPLATE as SHIPPED

MARKERS = (*SPECIAL, *MARKS)
SPACED = replace(HERMES, spaced=True)
BY_NAME = {form.name: form for form in FORMS}
LLAMAS = replace(BY_NAME["llama"], spaced=True)
MISTRALS = replace(BY_NAME["mistral"], spaced=True)
ENDS = ("<|im_end|>",)
THINK = ThoughtMarks("<think>\n", "\n</think>\n\n", "</think>")
SPECIALS = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}


def found(source: str, markers: tuple[str, ...] = MARKERS) -> Forms:
    return forms_of(ModelTemplate(source, SPECIALS, datetime.now), markers)


@pytest.mark.parametrize(
    ("source", "forms"),
    [
        (SHIPPED, Forms(HERMES, THINK, ENDS)),
        (HERMES_TEMPLATE, Forms(SPACED, THINK, ENDS)),
        (LLAMA, Forms(LLAMAS)),
        (MISTRAL, Forms(MISTRALS, None, ENDS)),
        (TYPED, Forms(None, None, ENDS)),
        (TEMPLATE, Forms(None, None, ENDS)),
        (TEMPLATE + "{{ '<think>\\n' }}", Forms(None, THINK, ENDS)),
        ("{{ raise_exception('never') }}", Forms()),
    ],
    ids=["shipped", "hermes", "llama", "mistral", "typed", "plain", "always thinking", "none"],
)
def test_the_forms_of_a_template_are_what_it_writes(source: str, forms: Forms) -> None:
    assert found(source) == forms


def test_thinking_that_no_token_closes_is_none() -> None:
    assert found(SHIPPED, SPECIAL) == Forms(HERMES, None, ENDS)


def test_the_form_is_the_one_that_reads_a_templates_call() -> None:
    arguments = {"key": ["a value", 3]}
    call = json.dumps({"name": "probe", "arguments": arguments})
    rendered = f"<|im_start|>assistant\n<tool_call>\n{call}\n</tool_call><|im_end|>\n"
    assert form_of(rendered, "probe", arguments) is HERMES
    assert form_of(rendered, "probe", {}) is None
    assert form_of("<|im_start|>assistant\n<|im_end|>\n", "probe", arguments) is None
    assert form_of(f"[CALLS] [{call}]", "probe", arguments) is None


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_every_form_is_found_where_a_template_writes_it(form: Form) -> None:
    arguments = {"place": "Kyoto", "days": [1, 2]}
    for spaced in (False, True):
        written = replace(form, spaced=spaced).write([("look_outside", arguments)])
        rendered = f"<|im_start|>assistant\n{written}<|im_end|>\n"
        assert (
            form_of(rendered, "look_outside", arguments, behind="<|im_start|>assistant\n") is form
        )
