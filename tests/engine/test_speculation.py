"""Several tokens a step: whatever is guessed or forced, the answer is plain decoding's.

Against ourselves without guesses, in every way an answer can end; and against a real model.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from renga.engine.batch import Batch
from renga.engine.engine import Engine
from renga.engine.grammar import GrammarError, Grammars
from renga.engine.messages import EngineSettings, Submit
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from tests.engine.fakes import BreakingGrammars, CountingModel
from tests.engine.harness import NAMES, Answer, Workbench, alone, model_folder, run
from tests.tiny_model import TURN_END, train_tokenizer, write_words

pytestmark = pytest.mark.timeout(300)

NEAR_TIE = 0.1


class CyclingModel(CountingModel):
    """Counts in circles of seven, so that guesses are often right."""

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        logits = np.zeros((len(batch.rows), self.vocab), dtype=np.float32)
        for row, place in enumerate(batch.rows):
            last = int(batch.input_ids[place])
            logits[row, (last // 7 * 7 + (last + 1) % 7) % self.vocab] = 20.0
        return logits


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    return Path(folder / "tokenizer.json")


def _engine(words: Path, draft_tokens: int, **changes) -> Engine:
    model = CyclingModel(blocks=changes.pop("blocks", 128), window=changes.pop("window", 2_048))
    grammars = changes.pop("grammars", None) or Grammars(words, model.vocab, [TURN_END])
    return Engine(
        model,
        Language(Vocabulary.load(words), grammars, frozenset([TURN_END])),
        EngineSettings(model="cycling", draft_tokens=draft_tokens, kv_precision="f32", **changes),
        clock=itertools.count().__next__,
        entropy=lambda: 0,
    )


def _seen(answers: dict[str, Answer]) -> dict[str, tuple[Any, ...]]:
    return {
        id: (one.tokens, one.text, one.end.reason, one.end.stop_sequence, one.end.output_tokens)
        for id, one in answers.items()
    }


GRAMMARS = [
    None,
    LLMatcher.grammar_from_regex("[a-z ]{3,40}"),
    LLMatcher.grammar_from_regex("(the quick brown )+fox"),
    LLMatcher.grammar_from_json_schema(
        {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
        overrides={"whitespace_flexible": False},
    ),
]

requests = st.fixed_dictionaries(
    {
        "prompt": st.lists(st.integers(5, 40), min_size=1, max_size=70),
        "max_tokens": st.integers(1, 90),
        "temperature": st.sampled_from([0.0, 0.5, 5.0]),
        "top_p": st.sampled_from([1.0, 0.9]),
        "seed": st.integers(0, 5),
        "stop": st.lists(st.text("ab %&'()*+", min_size=1, max_size=3), max_size=2),
        "grammar": st.sampled_from(GRAMMARS),
        "salt": st.sampled_from("ab"),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(requests, min_size=1, max_size=5), st.sampled_from([6, 128]))
def test_no_guess_changes_an_answer_or_where_it_ends(words, wanted, blocks):
    submits = [Submit(id=str(number), **one) for number, one in enumerate(wanted)]
    seen = []
    for draft_tokens in (0, 8):
        engine = _engine(words, draft_tokens, blocks=blocks, window=160)
        seen.append(_seen(run(engine, submits)))
        stats = engine.stats()
        assert stats.free_blocks == stats.blocks
        assert stats.output_tokens == sum(one[-1] for one in seen[-1].values())
        assert stats.accepted_tokens <= stats.drafted_tokens
    assert seen[0] == seen[1]
    assert not any(end == "error" for _, _, end, *_ in seen[0].values())


def test_right_guesses_save_steps_and_are_counted(words):
    steps = []
    for draft_tokens in (0, 8):
        engine = _engine(words, draft_tokens)
        prompt = [14, 15, 16, 17, 18, 19, 20, 14, 15, 16]
        run(engine, [Submit(id="a", salt="t", prompt=prompt, max_tokens=90, temperature=0.0)])
        steps.append(engine.stats().steps)
    assert steps[0] == 90
    assert steps[1] < 20
    stats = engine.stats()
    assert stats.accepted_tokens == 90 - stats.steps
    assert stats.model_seconds <= stats.step_seconds


def test_many_running_guess_nothing(words):
    engine = _engine(words, 8, max_running=16)
    prompt = [14, 15, 16, 17, 18, 19, 20] * 2
    submits = [
        Submit(id=str(n), salt="t", prompt=prompt, max_tokens=20, temperature=0.0)
        for n in range(16)
    ]
    run(engine, submits)
    assert engine.stats().drafted_tokens == 0


@pytest.mark.parametrize("change", [{"draft_tokens": 0}, {"kv_precision": "u8"}])
def test_nothing_is_guessed_where_it_is_off_or_would_disturb_what_is_kept(words, change):
    settings = EngineSettings(model="cycling", **{"kv_precision": "bf16", **change})
    language = Language(Vocabulary.load(words), Grammars(words, 600, [TURN_END]), frozenset())
    engine = Engine(
        CyclingModel(), language, settings, clock=itertools.count().__next__, entropy=lambda: 0
    )
    prompt = [14, 15, 16, 17, 18, 19, 20] * 2
    run(engine, [Submit(id="a", salt="t", prompt=prompt, max_tokens=40, temperature=0.0)])
    assert engine.stats().drafted_tokens == 0


def test_forced_tokens_need_no_step_and_are_output(words):
    engine = _engine(words, 0)
    text = "Where is my order 1234?"
    grammar = LLMatcher.grammar_from_regex(r"Where is my order 1234\?")
    [answer] = run(engine, [_plain("a", grammar=grammar)]).values()
    assert answer.text == text
    assert answer.tokens == train_tokenizer().encode(text).ids
    assert (answer.end.reason, answer.end.output_tokens) == ("end_turn", len(answer.tokens))
    assert engine.stats().steps == 1


def test_a_forced_run_ends_at_the_limit_and_at_a_stop_sequence(words):
    grammar = LLMatcher.grammar_from_regex(r"Where is my order 1234\?")
    [cut] = run(_engine(words, 0), [_plain("a", grammar=grammar, max_tokens=2)]).values()
    assert (cut.end.reason, cut.end.output_tokens, len(cut.tokens)) == ("max_tokens", 2, 2)
    [stopped] = run(_engine(words, 0), [_plain("a", grammar=grammar, stop=["my or"])]).values()
    assert (stopped.text, stopped.end.reason) == ("Where is ", "stop_sequence")


@pytest.mark.parametrize("draft_tokens", [0, 8])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("grammar", GRAMMARS)
def test_asking_for_probabilities_changes_no_answer(words, grammar, temperature, draft_tokens):
    given_: dict[str, Any] = {"max_tokens": 60, "grammar": grammar, "temperature": temperature}
    submits = [Submit(id=str(n), salt="a", prompt=[9] * 40, seed=n, **given_) for n in range(3)]
    expected = _seen(run(_engine(words, draft_tokens), submits))
    asked = [msgspec.structs.replace(submit, logprobs=2) for submit in submits]
    found = run(_engine(words, draft_tokens), asked)
    assert _seen(found) == expected
    assert all(len(one.logprobs) == len(one.tokens) for one in found.values())


def test_text_held_back_comes_though_the_grammar_breaks(words):
    grammar = LLMatcher.grammar_from_regex("[a-z ]{3,40}")
    given_: dict[str, Any] = {"grammar": grammar, "temperature": 5.0, "seed": 1}
    [whole] = run(_engine(words, 0), [_plain("a", max_tokens=4, **given_)]).values()
    engine = _engine(words, 0, grammars=BreakingGrammars(words, GrammarError("too much"), calls=4))
    stop = whole.text[1:] + "!"
    [answer] = run(engine, [_plain("a", stop=[stop], **given_)]).values()
    assert (answer.tokens, answer.end.reason) == (whole.tokens, "grammar")
    assert answer.text == whole.text


def test_max_tokens_zero_computes_the_prompt_alone(words):
    engine = _engine(words, 8)
    answers = run(engine, [_plain("a", prompt=[9] * 70, max_tokens=0)])
    assert answers["a"].started is not None
    assert (answers["a"].tokens, answers["a"].end.reason) == ([], "max_tokens")
    assert answers["a"].end.output_tokens == 0
    again = run(engine, [_plain("b", prompt=[9] * 70)])
    assert again["b"].reused == 64


def _plain(id: str, **changes) -> Submit:
    given: dict[str, Any] = {"salt": "t", "prompt": [9], "max_tokens": 40, "temperature": 0.0}
    return Submit(id=id, **{**given, **changes})


# --- a real model ---------------------------------------------------------------------------------


class Oracle:
    """Guesses what the answer is known to be, one token in five wrong: what a real text rarely is.

    A random model repeats nothing, so that a lookup would hardly ever guess.
    """

    def __init__(self, request: Any, expected: list[int], seed: int) -> None:
        self._request = request
        self._expected = expected
        self._random = np.random.default_rng(seed)

    def guess(self, room: int) -> list[int]:
        begin = self._request.generated
        wanted = self._expected[begin : begin + min(room, int(self._random.integers(0, 9)))]
        return [(t + 1) % 500 if self._random.random() < 0.2 else t for t in wanted]

    def learn(self, guessed: int, held: int) -> None:
        """It has nothing to learn."""


def _guided(engine: Engine, submits: list[Submit], expected: dict[str, list[int]]) -> Engine:
    """The engine, guessing by oracle."""
    submit_one = engine.submit

    def submit(message):
        events = submit_one(message)
        request: Any = engine._requests[message.id]
        request._lookup = Oracle(request, expected[message.id], len(message.prompt))
        return events

    engine.submit = submit  # type: ignore[method-assign]
    return engine


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory) -> Path:
    return model_folder(request.param, tmp_path_factory.mktemp("speculation"))


@pytest.fixture(scope="module")
def exact(folder) -> Workbench:
    return Workbench(folder, precision="exact", kv_bytes=200_000_000)


def _submits(bench: Workbench, count: int = 8, **changes) -> list[Submit]:
    return [
        _plain(str(n), salt=f"cold{n}", prompt=prompt, max_tokens=40, **changes)
        for n, prompt in enumerate(bench.prompts(count, longest=120))
    ]


def _tokens(answers: dict[str, Answer]) -> dict[str, list[int]]:
    return {id: answer.tokens for id, answer in answers.items()}


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize(
    "changes",
    # Few tokens to choose from: among hundreds that are as likely, the last bit of a sum that other
    # rows in a step may round the other way decides one draw in thousands.
    [{}, {"temperature": 0.6, "top_k": 5, "seed": 5}, {"temperature": 1.5, "top_k": 3, "seed": 6}],
)
def test_in_the_exact_mode_answers_are_equal_with_and_without_guesses(exact, together, changes):
    submits = _submits(exact, **changes)
    plain = exact.engine(draft_tokens=0)
    expected = {one.id: run(plain, [one])[one.id].tokens for one in submits}
    engine = _guided(exact.engine(max_running=together), submits, expected)
    assert _tokens(run(engine, submits)) == expected
    stats = engine.stats()
    assert 80 < stats.accepted_tokens < stats.drafted_tokens - 40


def test_at_serving_precision_guesses_change_nothing_but_at_near_ties(folder, capsys):
    bench = Workbench(folder, kv_bytes=200_000_000)
    plain = bench.engine(draft_tokens=0)
    submits = _submits(bench)
    expected = {one.id: alone(bench, plain, one) for one in submits}
    engine = _guided(bench.engine(), submits, _tokens(expected))
    found = {one.id: run(engine, [one])[one.id] for one in submits}
    leads = []
    for id, answer in expected.items():
        places = [p for p, t in enumerate(answer.tokens) if t != found[id].tokens[p]]
        leads += [answer.gaps[place] for place in places[:1]]
    with capsys.disabled():
        sys.stdout.write(f"\nguesses: {len(submits) - len(leads)}/{len(submits)} equal; {leads}\n")
    assert engine.stats().accepted_tokens > 80
    assert all(lead < NEAR_TIE for lead in leads)


SCHEMA = {
    "type": "object",
    "properties": {
        "customer_name": {"type": "string", "maxLength": 20},
        "kind": {"enum": ["refund", "invoice"]},
        "lines": {"type": "array", "items": {"enum": [7, 42, 4711]}, "maxItems": 3},
    },
    "required": ["customer_name", "kind", "lines"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_under_a_schema_guesses_and_forced_tokens_keep_the_answer_valid_and_the_same(
    exact, temperature
):
    grammar = LLMatcher.grammar_from_json_schema(SCHEMA, overrides={"whitespace_flexible": False})
    submits = [
        _plain(
            str(n),
            prompt=prompt,
            max_tokens=300,
            grammar=grammar,
            temperature=temperature,
            seed=n,
            top_k=5,
        )
        for n, prompt in enumerate(exact.prompts(4, longest=100))
    ]
    plain = exact.engine(draft_tokens=0)
    expected = _tokens(run(plain, submits))
    engine = _guided(exact.engine(), submits, expected)
    found = run(engine, submits)
    assert _tokens(found) == expected
    assert plain.stats().steps < max(len(tokens) for tokens in expected.values())
    assert engine.stats().accepted_tokens > 20
    for answer in found.values():
        jsonschema.validate(json.loads(answer.text), SCHEMA)


def test_tokens_of_an_answer_have_their_probabilities(exact):
    prompt = exact.prompts(4)[3]
    submit = _plain("a", prompt=prompt, max_tokens=12, logprobs=3)
    engine = exact.engine()
    engine.submit(submit)
    likely = []
    tokens = []
    while engine.busy:
        for event in engine.step():
            if getattr(event, "logprobs", None):
                likely += event.logprobs
                tokens += event.tokens
    assert len(likely) == len(tokens) == 12
    for one, token in zip(likely, tokens, strict=True):
        assert one.top[0] == (token, one.logprob)
        assert [log for _, log in one.top] == sorted((log for _, log in one.top), reverse=True)
        assert len(one.top) == 3
        assert sum(np.exp(log) for _, log in one.top) <= 1 + 1e-9
