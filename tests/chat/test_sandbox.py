"""Templates that go on for ever, or make too much, end as templates that refuse."""

from __future__ import annotations

import tracemalloc
from datetime import datetime
from pathlib import Path

import pytest
from jinja2 import TemplateError

from renga.chat.render import ChatTemplate
from renga.chat.sandbox import LONGEST_SOURCE, Bounds, Sandbox
from renga.chat.template import ModelTemplate
from renga.chat.tokenizer import Tokenizer
from renga.errors import InvalidRequest, SetupError
from renga.types import CountRequest

ASKED = "{% for m in messages %}{{ m.content }}{% endfor %}"
LOOPS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "a loop that never holds": "{% for a in range(99999) %}{% for b in range(99999) if false %}"
    "{% endfor %}{% endfor %}",
    "macros that call themselves twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}"
    "{% endif %}{% endmacro %}{{ f(60) }}",
    "a loop that calls itself": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "filters over ranges": "{% for a in range(99999) %}{% set x = range(9999) | select('odd') "
    "| list %}{% endfor %}",
    "slices": "{% set r = range(99999) | list %}{% for a in range(99999) %}{% set x = r[::-1] %}"
    "{% endfor %}",
}
LARGE = {
    "a repeated text": "{{ 'ab' * 9999999999 }}",
    "a repeated list": "{{ ['ab'] * 9999999999 }}",
    "a text that doubles": "{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
    "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "a text that doubles, joined": "{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
    "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "a block that doubles": "{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
    "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
    "a list that doubles": "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
    "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "a list of lists of lists": "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
    "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
    "an object of objects": "{% set ns = namespace(s={}) %}{% for i in range(99) %}"
    "{% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s | tojson }}",
    "objects by name": "{% set ns = namespace(s={}) %}{% for i in range(99) %}"
    "{% set ns.s = dict(a=ns.s, b=ns.s) %}{% endfor %}{{ ns.s | tojson }}",
    "namespaces in namespaces": "{% set ns = namespace(s=1) %}{% for i in range(99) %}"
    "{% set ns.s = namespace(a=ns.s, b=ns.s) %}{% endfor %}{{ ns.s }}",
    "lists in lists by batches": "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
    "{% set ns.s = (ns.s + ns.s) | batch(2) | list %}{% endfor %}",
    "lists in lists by batches of batches": "{% set ns = namespace(s=[1]) %}"
    "{% for i in range(99) %}{% for b in (ns.s + ns.s) | batch(2) | batch(1) %}"
    "{% set ns.s = b %}{% endfor %}{% endfor %}",
    "lists in lists by groups": "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
    "{% set ns.s = (ns.s + ns.s) | groupby('x') %}{% endfor %}",
    "arguments in arguments": "{% set ns = namespace(s=[1]) %}{% macro f() %}"
    "{% set ns.s = varargs %}{% endmacro %}{% for i in range(99) %}{{ f(ns.s, ns.s) }}{% endfor %}",
    "named arguments in arguments": "{% set ns = namespace(s=[1]) %}{% macro f() %}"
    "{% set ns.s = kwargs %}{% endmacro %}{% for i in range(99) %}{{ f(a=ns.s, b=ns.s) }}"
    "{% endfor %}",
    "objects from keys": "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
    "{% set ns.s = dict.fromkeys([1, 2], ns.s) %}{% endfor %}",
    "a sum of lists": "{{ ([[0] * 999] * 999) | sum(start=[]) | length }}",
    "bytes": "{{ 'a'.encode() * 999999999 }}",
    "one text many times in a list": "{{ ['a' * 9999] * 9999 }}",
    "one text many times, joined": "{{ (['a' * 9999] * 9999) | join }}",
    "one text many times, as JSON": "{{ (['a' * 9999] * 9999) | tojson }}",
    "joining what comes one by one": "{{ range(999) | map('string') | join('a' * 9999) }}",
    "joining by its method what comes one by one": "{{ ('a' * 9999).join(range(999) "
    "| map('string')) }}",
    "many formats": "{{ ('{0:9999}' * 9999).format(1) }}",
    "one text in many places": "{{ ('{0}' * 9999).format('a' * 9999) }}",
    "one text in many places by %": "{{ ('%(a)s' * 9999) % {'a': 'a' * 9999} }}",
    "one text in many places by its filter": "{{ ('%(a)s' * 9999) | format(a='a' * 9999) }}",
    "a wide format": "{{ '%0999999999d' % 1 }}",
    "a width that is given": "{{ '%*d' % (999999999, 1) }}",
    "a wide format by its filter": "{{ '%0999999999d' | format(1) }}",
    "a wide format by its method": "{{ '{:>999999999}'.format('a') }}",
    "a wide format by its name": "{{ '{:>999999999}'['format']('a') }}",
    "a width in words": "{{ '{:>{}}'.format('a', '999999999') }}",
    "a width by its name": "{{ '{a:>{b}}'.format_map({'a': 1, 'b': '999999999'}) }}",
    "a text in the middle": "{{ 'a' | center(999999999) }}",
    "a text at the right": "{{ 'a'.rjust(999999999) }}",
    "replacing": "{% set a = 'a' * 9000 %}{{ a.replace('a', a) }}",
    "replacing by its filter": "{% set a = 'a' * 9000 %}{{ a | replace('a', a) }}",
    "joining": "{% set a = 'a' * 9000 %}{{ a.join(range(999) | map('string') | list) }}",
    "joining by its filter": "{{ range(9999) | list | join('a' * 9000) }}",
    "indents": "{{ ('\\n' * 90000) | indent(90000) }}",
    "tabs": "{{ ('\\t' * 90000).expandtabs(90000) }}",
    "powers": "{{ 9 ** (9 ** 9) }}",
    "numbers that square": "{% set ns = namespace(n=9) %}{% for i in range(99) %}"
    "{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "a range": "{{ range(10 ** 9) | list }}",
    "indented JSON": "{{ messages | tojson(indent=99999999) }}",
    "a long template": ASKED + " " * LONGEST_SOURCE,
}


# So little that a test is quick.
SMALL, SHORT = Bounds(text=1 << 20, parts=1 << 14), Bounds(seconds=0.2)


def fill(source: str) -> str:
    return ModelTemplate(source, {}, datetime.now, SMALL).render(
        [{"role": "user", "content": "Hi"}]
    )


@pytest.mark.parametrize("name", LARGE)
def test_a_template_that_makes_too_much_refuses_before_it_has(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((TemplateError, OverflowError, ValueError)):
            fill(LARGE[name])
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_form_is_looked_at_once_however_it_is_written() -> None:
    with pytest.raises((TemplateError, ValueError, TypeError)):
        fill("{{ ('{' ~ ':' * 400000) % 1 }}")  # hours, where each colon is looked at from each


def test_lists_have_a_sum_as_in_jinja() -> None:
    assert fill("{{ [[1], [2, 3]] | sum(start=[]) }}") == "[1, 2, 3]"
    assert fill("{{ [{'a': 1}, {'a': 2}] | sum(attribute='a') }}") == "3"
    assert fill("{{ [{'a': 1}, {'a': 2}] | sum('a', 4) }}") == "7"


@pytest.mark.parametrize("name", LOOPS)
def test_a_template_that_goes_on_is_ended(name: str) -> None:
    source = "{% if messages | length > 7 %}" + LOOPS[name] + "{% endif %}"
    box = Sandbox(datetime.now, SHORT)
    template = box.compile_template(source)
    with pytest.raises((TemplateError, RecursionError)):
        box.run(template, messages=range(8))
    assert box.run(template, messages=[]) == ""


def test_a_template_that_goes_on_is_a_request_refused(words: Path) -> None:
    source = (
        ASKED + "{% if messages[0].content == 'Go' %}" + LOOPS["loops in loops"] + "{% endif %}"
    )
    template = ChatTemplate(source, Tokenizer.load(words / "tokenizer.json"), bounds=SHORT)

    def asked(text: str) -> CountRequest:
        messages = [{"role": "user", "content": text}]
        return CountRequest.model_validate({"model": "haiku", "messages": messages})

    with pytest.raises(InvalidRequest, match=r"^messages: .*template takes more than 0.2 seconds"):
        template.text(asked("Go"))
    assert template.text(asked("Hi")) == "Hi"


@pytest.mark.parametrize("source", ["{{ 'a' * (9 ** 9 ** 9) }}{{", "{{ x | urlize }}"])
def test_a_folder_whose_template_is_none_is_refused_by_name(words: Path, source: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (words.parent / name).write_bytes((words / name).read_bytes())
    (words.parent / "chat_template.jinja").write_text(source, encoding="utf-8")
    with pytest.raises(SetupError, match=r"chat_template\.jinja is no chat template"):
        ChatTemplate.load(words.parent)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% set x = messages.append(1) %}",
        "{{ raise_exception.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{% include 'x' %}",
    ],
)
def test_a_template_reaches_nothing_but_what_it_is_given(source: str) -> None:
    with pytest.raises((TemplateError, TypeError)):
        if "object" not in fill(source):
            raise TemplateError("nothing was reached")
