"""A model's own forms, found by what its chat template renders."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from renga.chat.forms import FORMS
from renga.chat.probing import Forms, ThoughtMarks, form_of, forms_of
from renga.chat.template import ModelTemplate
from tests.chat.templates import HERMES, LLAMA, MISTRAL, TYPED
from tests.tiny_model import MARKS, SPECIAL, TEMPLATE
from training.vocabulary import TEMPLATE as SHIPPED

MARKERS = (*SPECIAL, *MARKS)
CALLS = FORMS[0]
THINK = ThoughtMarks("<think>\n", "\n</think>\n\n", "</think>")
SPECIALS = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}


def found(source: str, markers: tuple[str, ...] = MARKERS) -> Forms:
    return forms_of(ModelTemplate(source, SPECIALS, datetime.now), markers)


@pytest.mark.parametrize(
    ("source", "forms"),
    [
        (SHIPPED, Forms(CALLS, THINK)),
        (HERMES, Forms(CALLS, THINK)),
        (LLAMA, Forms()),
        (MISTRAL, Forms()),
        (TYPED, Forms()),
        (TEMPLATE, Forms()),
        (TEMPLATE + "{{ '<think>\\n' }}", Forms(None, THINK)),
        ("{{ raise_exception('never') }}", Forms()),
    ],
    ids=["shipped", "hermes", "llama", "mistral", "typed", "plain", "always thinking", "none"],
)
def test_the_forms_of_a_template_are_what_it_writes(source: str, forms: Forms) -> None:
    assert found(source) == forms


def test_thinking_that_no_token_closes_is_none() -> None:
    assert found(SHIPPED, SPECIAL) == Forms(CALLS, None)


def test_the_form_is_the_one_that_reads_a_templates_call() -> None:
    arguments = {"key": ["a value", 3]}
    call = json.dumps({"name": "probe", "arguments": arguments})
    rendered = f"<|im_start|>assistant\n<tool_call>\n{call}\n</tool_call><|im_end|>\n"
    assert form_of(rendered, "probe", arguments) is CALLS
    assert form_of(rendered, "probe", {}) is None
    assert form_of("<|im_start|>assistant\n<|im_end|>\n", "probe", arguments) is None
    assert form_of(f"[TOOL_CALLS] [{call}]", "probe", arguments) is None
