"""Tokens to text: against the tokenizers library, and the same for every way of cutting."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from renga.engine.text import TextStream, TokenizerError, Vocabulary
from tests.tiny_model import train_tokenizer

TOKENIZER: Tokenizer = train_tokenizer()
_TABLE = json.loads(TOKENIZER.to_str())
VOCABULARY = Vocabulary.of(_TABLE["model"]["vocab"], _TABLE["added_tokens"])

# One "token" for every byte: any text can then be cut anywhere, inside a character too.
BYTES = Vocabulary([bytes([value]) for value in range(256)], frozenset())

texts = st.text(alphabet=st.sampled_from("ab \nx\u00e9\u6771\U0001f98a"), max_size=30)
stops = st.lists(st.text(alphabet=st.sampled_from("ab \u00e9"), min_size=1, max_size=4), max_size=3)


def _joined(stream: TextStream, tokens) -> str:
    text = ""
    for token in tokens:
        text += stream.push(token)
        if stream.stopped is not None:
            return text
    return text + stream.finish()


@settings(deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.get_vocab_size() - 1), max_size=40))
def test_any_tokens_decode_as_the_tokenizers_library_decodes_them(tokens):
    expected = TOKENIZER.decode(tokens, skip_special_tokens=True)
    assert _joined(TextStream(VOCABULARY), tokens) == expected


@settings(deadline=None)
@given(st.text(max_size=60))
@example("Zürich 東京 🦊 123 <|im_end|>")
def test_text_comes_back_as_it_was(text):
    pieces = [VOCABULARY.pieces[token] for token in TOKENIZER.encode(text).ids]
    special = [TOKENIZER.id_to_token(token) for token in sorted(VOCABULARY.special)]
    expected = text
    for token in special:
        expected = expected.replace(token, "")
    assert b"".join(pieces).decode() == expected


@settings(deadline=None)
@given(texts, stops)
@example("aab", ["ab", "b"])
@example("abab", ["aba", "b"])
@example("\u00e9a", ["\u00e9a"])
def test_the_text_ends_before_the_stop_that_is_complete_first(text, wanted):
    stream = TextStream(BYTES, wanted)
    got = _joined(stream, text.encode())
    ends = [
        (place, -len(stop), stop)
        for place in range(1, len(text) + 1)
        for stop in wanted
        if text[:place].endswith(stop)
    ]
    if ends:
        place, length, stop = min(ends)
        assert (got, stream.stopped) == (text[: place + length], stop)
    else:
        assert (got, stream.stopped) == (text, None)


@settings(deadline=None)
@given(texts, stops, st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_however_it_is_cut_the_text_and_the_stop_are_the_same(text, wanted, sizes):
    data = text.encode()
    pieces: list[bytes] = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    cut = TextStream(Vocabulary(pieces, frozenset()), wanted)
    whole = TextStream(BYTES, wanted)
    assert _joined(cut, range(len(pieces))) == _joined(whole, text.encode())
    assert cut.stopped == whole.stopped


def test_what_may_become_a_stop_is_held_back_and_released_when_it_does_not():
    stream = TextStream(BYTES, ["END"])
    assert [stream.push(byte) for byte in b"xENxEN"] == ["x", "", "", "ENx", "", ""]
    assert stream.finish() == "EN"


def test_thousands_of_stops_cost_a_token_about_what_a_few_do():
    def seconds(count: int) -> float:
        stream = TextStream(BYTES, [f"stop number {n}" for n in range(count)])
        begun = time.perf_counter()
        for byte in b"stop it, " * 20:
            stream.push(byte)
        return time.perf_counter() - begun

    few = min(seconds(4) for _ in range(3))
    assert min(seconds(8_191) for _ in range(3)) < 30 * few


def test_an_incomplete_character_is_held_back_and_marked_at_the_end():
    stream = TextStream(BYTES)
    first, second, third = "東".encode()
    assert (stream.push(first), stream.push(second), stream.push(third)) == ("", "", "東")
    stream.push(first)
    assert stream.finish() == "\ufffd"


def test_special_tokens_and_unknown_ids_have_no_text():
    stream = TextStream(VOCABULARY)
    special = TOKENIZER.token_to_id("<|im_start|>")
    assert special is not None
    assert stream.push(special) + stream.push(len(VOCABULARY) + 5) + stream.finish() == ""


def test_a_token_beyond_the_tokenizer_has_no_bytes_as_models_with_padded_ids_have_them():
    assert VOCABULARY.piece(len(VOCABULARY) + 5) == b""
    assert VOCABULARY.piece(len(VOCABULARY) - 1) == VOCABULARY.pieces[-1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ('{"decoder": {"type": "Metaspace"}, "model": {"vocab": {}}}', "not ByteLevel"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path: Path, content, sentence):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=sentence) as raised:
        Vocabulary.load(path)
    assert str(path) in str(raised.value)


def test_a_special_token_has_its_text_where_an_answer_shows_it():
    added = [{"id": 1, "content": "<|call|>", "special": True}]
    vocabulary = Vocabulary.of({"a": 0}, added)
    for shown, text in (((), "aa"), ((1,), "a<|call|>a"), ((0, 1, 9), "a<|call|>a")):
        stream = TextStream(vocabulary, shown=shown)
        assert "".join(map(stream.push, [0, 1, 0])) + stream.finish() == text
    stream = TextStream(vocabulary, ["l|>a"], [1])
    assert "".join(map(stream.push, [0, 1, 0])) == "a<|cal"
    assert stream.stopped == "l|>a"
