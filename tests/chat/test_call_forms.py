"""Every form of calls: what it writes it reads, however it is cut, and its grammar takes it."""

from __future__ import annotations

import json
import random
from functools import cache
from itertools import groupby
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken

from renga.chat.calling import tools_grammar
from renga.chat.forms import (
    FORMS,
    CallBegin,
    CallEnd,
    CallJson,
    Form,
    Part,
    Reader,
    Text,
    Tool,
)
from renga.errors import InvalidRequest
from renga.toolkit.specs import ToolSpec
from tests.tiny_model import train_tokenizer

# What a tool may ask for, of every kind that forms write in ways of their own.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "unit": {"enum": ["metric", "imperial"]},
        "days": {"type": "integer"},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "within": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
            "required": ["name"],
        },
    },
    "required": ["place", "unit"],
}
SPEC = ToolSpec("look_outside", "", SCHEMA, path="tools.0")
OTHER = ToolSpec("ask-2", "", {"type": "object", "properties": {}}, path="tools.1")
TOOLS = {spec.name: Tool(spec.name, spec.schema) for spec in (SPEC, OTHER)}

# Text without the marks of any form: where one would stand in a value, most forms cannot tell.
words = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='<>[]|{}"'), max_size=12
)
whole = st.integers(-(10**9), 10**9)
fractions = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
arguments = st.fixed_dictionaries(
    {"place": words, "unit": st.sampled_from(["metric", "imperial"])},
    optional={
        "days": whole,
        "share": whole | fractions,
        "sure": st.booleans(),
        "tags": st.lists(words, max_size=3),
        "note": st.none() | words.filter(lambda text: text not in ("null", "None")),
        "within": st.fixed_dictionaries({"name": words}, optional={"size": whole}),
    },
)
calls: st.SearchStrategy[Any] = st.just(("ask-2", {})) | arguments.map(
    lambda given: ("look_outside", given)
)
forms = pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])


def read(form: Form, *pieces: str, cut: bool = False) -> list[Part]:
    """The parts of a text, neighbours of a kind as one."""
    reader = Reader(form, TOOLS)
    parts = [part for piece in pieces for part in reader.feed(piece)]
    joined: list[Part] = []
    for kind, group in groupby(parts + reader.finish(cut=cut), key=type):
        several: list[Any] = list(group)
        if kind is Text:
            joined.append(Text("".join(p.text for p in several)))
        elif kind is CallJson:
            joined.append(CallJson("".join(p.json for p in several)))
        else:
            joined += several
    return joined


def called(parts: list[Part]) -> list[tuple[str, Any]]:
    """The calls that parts amount to, each of them whole."""
    found: list[tuple[str, Any]] = []
    name, written = "", ""
    for part in parts:
        match part:
            case CallBegin():
                name, written = part.name, ""
            case CallJson():
                written += part.json
            case CallEnd():
                assert part.whole, written
                found.append((name, json.loads(written)))
            case Text():
                raise AssertionError(part)
    return found


# --- reading --------------------------------------------------------------------------------------


several = st.lists(calls, min_size=1, max_size=3)


def check_that_it_reads(form: Form, written: list[tuple[str, Any]], *, spaced: bool) -> None:
    written = written if form.parallel else written[:1]
    form = Form(**{**vars(form), "spaced": spaced})
    assert called(read(form, form.write(written))) == written


@forms
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=several, spaced=st.booleans())
def test_what_a_form_writes_it_reads(form: Form, written: Any, spaced: bool) -> None:
    check_that_it_reads(form, written, spaced=spaced)


@pytest.mark.slow
@forms
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=several, spaced=st.booleans())
def test_five_hundred_times_a_form_reads_what_it_writes(
    form: Form, written: Any, spaced: bool
) -> None:
    check_that_it_reads(form, written, spaced=spaced)


SCRAPS = [
    "So:",
    " ",
    "\n\n",
    "{",
    '{"name":',
    "<",
    "[TOOL_CALLS]",
    "<tool_call>",
    "call:",
    "Zoë 🦊",
]


@forms
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_however_it_is_cut_the_same_parts_come_of_it(form: Form, data: Any) -> None:
    known = [*SCRAPS, *filter(None, form.texts())]
    pieces = st.sampled_from(known) | st.lists(calls, min_size=1, max_size=2).map(form.write)
    text = "".join(data.draw(st.lists(pieces, max_size=5)))
    text = text[: data.draw(st.integers(0, len(text)))] if data.draw(st.booleans()) else text
    cut = data.draw(st.booleans())
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    expected = read(form, text, cut=cut)
    assert read(form, *parts, cut=cut) == expected
    assert read(form, *text, cut=cut) == expected


@forms
def test_text_stays_text_and_its_opening_is_none_of_it(form: Form) -> None:
    said = "It rains [a little] {today}, <b>I think</b>: call: me."
    assert read(form, form.opening + said) == [Text(said)]


@forms
def test_a_call_that_breaks_off_is_begun_or_dropped_but_no_text(form: Form) -> None:
    text = form.write([("look_outside", {"place": "Kyoto", "unit": "metric"})])
    for end in range(len(text)):
        for part in read(form, text[:end], cut=True):
            assert not isinstance(part, Text) or part.text == text[:end]


# --- grammars -------------------------------------------------------------------------------------


@cache
def vocabulary(form: Form, *, marked: bool) -> tuple[LLTokenizer, dict[str, int]]:
    """A tokenizer with tokens for the form's marks, and their ids, or one without any."""
    tokenizer = train_tokenizer()
    marks = sorted({mark for text in form.texts() for mark in _marks_in(text)}) if marked else []
    tokenizer.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in marks])
    vocab = tokenizer.get_vocab()
    ids = {mark: vocab[mark] for mark in marks}
    spelled = json.loads(tokenizer.to_str())
    # No text can spell a mark, as the engine has it: see `engine.grammar`.
    names = {one["content"]: f"\0{one['id']}" for one in spelled["added_tokens"]}
    for one in spelled["added_tokens"]:
        one.update(content=names[one["content"]], special=True)
    known = spelled["model"]["vocab"]
    spelled["model"]["vocab"] = {names.get(word, word): id_ for word, id_ in known.items()}
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    return LLTokenizer(json.dumps(spelled), n_vocab=size, eos_token=[2]), ids


def _marks_in(text: str) -> list[str]:
    import re

    return re.findall(r"<[^<>\s{}=]+>|\[[A-Z_]+\]", text)


def tokens_of(text: str, known: LLTokenizer, ids: dict[str, int]) -> list[int]:
    """The text as the model would write it: marks as their tokens."""
    found: list[int] = []
    while text:
        marks = [(text.find(mark), -len(mark), mark) for mark in ids if mark in text]
        at, _, mark = min(marks, default=(len(text), 0, ""))
        found += known.tokenize_str(text[:at]) if at else []
        found += [ids[mark]] if mark else []
        text = text[at + len(mark) :]
    return found


def takes(form: Form, text: str, *, marked: bool, lazy: bool, parallel: bool = True) -> bool:
    """Whether an answer may be exactly that text by the form's grammar."""
    known, ids = vocabulary(form, marked=marked)
    made = tools_grammar([SPEC, OTHER], form, lazy=lazy, parallel=parallel, markers=ids)
    matcher = LLMatcher(known, made.grammar)
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokens_of(text, known, ids)
    if made.trigger is not None and made.trigger in tokens:
        tokens = tokens[tokens.index(made.trigger) :]
    elif made.trigger is not None:
        return True
    taken = matcher.validate_tokens(tokens)
    return taken == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()


# In the order in which properties are written: the required ones first.
FULL: dict[str, Any] = {
    "place": "Kyōto, 3rd",
    "unit": "metric",
    "days": 3,
    "share": 0.5,
    "sure": True,
    "tags": ["a", "b c"],
    "note": "so so",
    "within": {"name": "x", "size": 2},
}


@forms
@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "forced"])
def test_the_grammar_takes_what_the_form_writes(form: Form, marked: bool, lazy: bool) -> None:
    for spaced in (False, True):
        one = Form(**{**vars(form), "spaced": spaced})
        for said in (FULL, {"place": "x", "unit": "imperial"}):
            text = one.write([("look_outside", said)])
            assert takes(one, text, marked=marked, lazy=lazy), text
        two = one.write([("ask-2", {}), ("look_outside", FULL)])
        assert takes(one, two, marked=marked, lazy=lazy) == form.parallel
        assert not takes(one, two, marked=marked, lazy=lazy, parallel=False)


@forms
@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
def test_the_grammar_takes_no_call_that_is_wrong(form: Form, marked: bool) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("look_inside", {"place": "x", "unit": "metric"}),
        ("look_outside", {"place": "x"}),
        ("look_outside", {"place": "x", "unit": "other"}),
        ("look_outside", {"place": "x", "unit": "metric", "days": True}),
        ("look_outside", {"place": "x", "unit": "metric", "within": {"size": 1}}),
        ("look_outside", {"place": "x", "unit": "metric", "other": 1}),
        ("ask-2", {"a": 1}),
    ]
    for call in wrong:
        for lazy in (True, False):
            assert not takes(form, form.write([call]), marked=marked, lazy=lazy), call


@forms
def test_text_may_come_where_no_call_is_asked_for(form: Form) -> None:
    for marked in (True, False):
        for text in ("", "It rains, 3 > 2.", "Zoë 🦊\n\n"):
            assert takes(form, form.opening + text, marked=marked, lazy=True)
            if form.before or text:
                assert not takes(form, form.opening + text, marked=marked, lazy=False)


def drawn(form: Form, specs: list[ToolSpec], seed: int, *, marked: bool) -> str:
    """A call that a model which knows nothing could write: any token that the grammar allows."""
    known, ids = vocabulary(form, marked=marked)
    names = {token: mark for mark, token in ids.items()}
    made = tools_grammar(specs, form, lazy=False, parallel=False, markers=ids)
    matcher, chance = LLMatcher(known, made.grammar), random.Random(seed)
    tokens: list[int] = []
    while not matcher.is_stopped() and len(tokens) < 3_000:
        mask = matcher.compute_bitmask()
        allowed = [i for i in range(known.vocab_size) if mask[i // 8] >> i % 8 & 1]
        # What ends something is drawn more often, so that texts and lists do.
        ends = [i for i in allowed if i in names or i == 2]
        token = chance.choice(ends if ends and chance.random() < 0.3 else allowed)
        if token == 2:
            break
        assert matcher.consume_token(token)
        tokens.append(token)
    pieces = []
    for is_mark, group in groupby(tokens, key=names.__contains__):
        several = list(group)
        pieces += (
            [names[t] for t in several]
            if is_mark
            else [known.decode_bytes(several).decode("utf-8", "replace")]
        )
    return "".join(pieces) if matcher.is_accepting() else ""


@forms
def test_whatever_a_model_draws_is_a_call_that_meets_the_schema(form: Form) -> None:
    """The tokens are drawn at random: nothing but the grammar makes a call of them."""
    small = {
        **SCHEMA,
        "properties": {
            key: {**value, "maxLength": 6} if value.get("type") == "string" else value
            for key, value in SCHEMA["properties"].items()
            if key in ("place", "unit", "days", "sure")
        },
    }
    found = 0
    for seed in range(12):
        spec = ToolSpec("look_outside", "", small, strict=True, path="tools.0")
        tools = {spec.name: Tool(spec.name, spec.schema)}
        text = drawn(form, [spec], seed, marked=seed % 2 == 0)
        if not text:
            continue
        found += 1
        reader = Reader(form, tools)
        parts = reader.feed(text) + reader.finish(cut=False)
        ((name, given),) = called(parts)
        assert name == "look_outside"
        jsonschema.validate(given, small)
    assert found >= 6


@pytest.mark.parametrize("name", ["glm", "qwen-coder", "gemma"])
def test_what_a_form_cannot_follow_is_refused_of_strict_tools_alone(name: str) -> None:
    (form,) = [form for form in FORMS if form.name == name]
    schema = {**SCHEMA, "not": {"required": ["days"]}}
    strict = ToolSpec("look_outside", "", {**schema}, strict=True, path="tools.3")
    with pytest.raises(InvalidRequest, match=r"^tools\.3\.input_schema: .*not"):
        tools_grammar([strict], form, lazy=False, parallel=False)
    made = tools_grammar(
        [ToolSpec("look_outside", "", schema, path="tools.3")], form, lazy=False, parallel=False
    )
    assert made.grammar
