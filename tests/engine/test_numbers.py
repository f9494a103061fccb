"""Numbers in JSON end, however much a model likes digits; what its schema demands is never lost."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renga.chat.schema import json_grammar, json_object_grammar, regex_grammar
from renga.engine.grammar import GrammarMask, Grammars
from renga.engine.numbers import NumberBound, NumberTokens
from renga.engine.text import Vocabulary
from tests.tiny_model import TURN_END, write_words

VOCAB = 700
MOST = 20


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    write_words(folder)
    return Path(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def vocabulary(path) -> Vocabulary:
    return Vocabulary.load(path)


@pytest.fixture(scope="module")
def tokens(vocabulary) -> NumberTokens:
    return NumberTokens.of(vocabulary, VOCAB, [TURN_END])


@pytest.fixture(scope="module")
def grammars(path) -> Grammars:
    return Grammars(path, VOCAB, [TURN_END])


def _mask(grammars: Grammars, tokens: NumberTokens, grammar: str, most: int = MOST) -> GrammarMask:
    mask = grammars.compile(grammar)
    mask.numbers = NumberBound(tokens, most)
    return mask


def _write(mask: GrammarMask, vocabulary: Vocabulary, wishes: str, most: int = 200) -> str:
    """What a model writes that takes the first of `wishes` that it may, and else ends soon."""
    singles = {piece: token for token, piece in enumerate(vocabulary.pieces) if len(piece) == 1}
    order = [singles[wish.encode()] for wish in wishes]
    text = ""
    for _ in range(most):
        if mask.complete:
            return text
        allowed = mask.allowed()
        wished = [token for token in order if allowed[token]]
        token = (wished or np.flatnonzero(allowed).tolist())[0]
        if token == TURN_END:
            return text
        mask.accept(token)
        text += vocabulary.text([token])
    raise AssertionError(f"it goes on and on: {text!r}")


def _object(**properties: Any) -> str:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return json_grammar(schema)


NUMBERS: list[dict[str, Any]] = [
    {"type": "integer"},
    {"type": "integer", "minimum": 3},
    {"type": "number"},
    {"type": "number", "minimum": 0, "maximum": 3},
    {"type": ["number", "null"]},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"type": "array", "items": {"type": "number"}, "maxItems": 1},
]


@pytest.mark.parametrize("wishes", ["7.}", "3.7}", "0.07}", "7e}", "-9E-}", "1e+9}", ".e7}"])
@pytest.mark.parametrize("schema", NUMBERS, ids=json.dumps)
def test_a_number_ends_whatever_its_schema_and_its_model(
    grammars, tokens, vocabulary, schema, wishes
):
    mask = _mask(grammars, tokens, _object(a=schema))
    text = _write(mask, vocabulary, wishes)
    found = json.loads(text)["a"]
    number = found[0] if isinstance(found, list) else found
    assert number is not None
    assert math.isfinite(number)
    assert max(map(len, re.findall("[0-9]+", text))) <= MOST


def test_so_it_does_in_an_object_of_any_form(grammars, tokens, vocabulary):
    mask = _mask(grammars, tokens, json_object_grammar())
    for token in (vocabulary.pieces.index(bytes([byte])) for byte in b'{"a":'):
        assert mask.allowed()[token]
        mask.accept(token)
    assert _write(mask, vocabulary, "7}") == "7" * MOST + "}"


def test_integers_of_64_bits_and_very_small_and_large_numbers_can_be_written(
    grammars, tokens, vocabulary
):
    for number in (2**64 - 1, -(2**63), 6.62607015e-34, -1.7976931348623157e99):
        mask = _mask(grammars, tokens, _object(a={"type": "number"}))
        for token in mask.forced():
            mask.accept(token)
        for byte in json.dumps(number).encode():
            token = vocabulary.pieces.index(bytes([byte]))
            assert mask.allowed()[token]
            mask.accept(token)


def test_digits_that_a_schema_demands_are_written(grammars, tokens, vocabulary):
    for schema in ({"const": 123_456_789}, {"type": "integer", "minimum": 111_111_111}):
        mask = _mask(grammars, tokens, _object(a=schema), most=4)
        found = json.loads(_write(mask, vocabulary, "1}"))["a"]
        assert found in (123_456_789, 111_111_111)
    pattern = {"type": "string", "pattern": "^[0-9]{40}$"}
    text = _write(_mask(grammars, tokens, _object(a=pattern)), vocabulary, "7}")
    assert json.loads(text) == {"a": "7" * 40}


def test_digits_of_a_string_are_text(grammars, tokens, vocabulary):
    wishes = '7"}'
    schema = {"type": "string", "maxLength": 50}
    text = _write(_mask(grammars, tokens, _object(a=schema)), vocabulary, wishes)
    assert json.loads(text) == {"a": "7" * 50}
    pattern = {"type": "string", "pattern": "^[0-9]{1,50}$"}
    text = _write(_mask(grammars, tokens, _object(a=pattern)), vocabulary, wishes)
    assert json.loads(text) == {"a": "7" * 50}


def test_tokens_of_several_digits_do_not_jump_over_the_bound():
    """Vocabularies such as Llama's have every number of up to three digits as a token."""
    pieces = [b"1", b"12", b"123", b"e", b",", b'"', b"}", b".5"]
    found = NumberTokens.of(Vocabulary(pieces, frozenset()), len(pieces), [])
    bound = NumberBound(found, 4)

    def left() -> list[bytes]:
        flags = np.array([piece != b'"' for piece in pieces])
        bound.narrow(flags)
        return [piece for piece, flag in zip(pieces, flags, strict=True) if flag]

    digits = [b"1", b"12", b"123"]
    assert [piece for piece in digits if piece in left()] == digits
    bound.push(2)
    assert [piece for piece in digits if piece in left()] == [b"1"]
    bound.push(0)
    assert [piece for piece in digits if piece in left()] == []
    bound.push(3)
    assert [piece for piece in digits if piece in left()] == [b"1", b"12"]
    bound.push(1)
    assert [piece for piece in digits if piece in left()] == []
    bound.push(4)
    assert [piece for piece in digits if piece in left()] == digits


def test_a_pattern_that_is_the_whole_answer_is_not_a_number(grammars, vocabulary):
    mask = grammars.compile(regex_grammar("[0-9]{1,30}"))
    assert _write(mask, vocabulary, "7") == "7" * 30
