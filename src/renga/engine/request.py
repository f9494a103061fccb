"""One request's answer as it grows: how it is drawn, its text, its grammar, and where it ends.

Owned rules: a token is taken only where plain decoding, one token a step, would have taken it, so
that neither guesses nor forced tokens change an answer; every answer ends exactly at its end token,
stop sequence, limit, or where its grammar leaves nothing; thinking comes before all that, and knows
the limit alone. It knows no steps and no blocks.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from renga.engine.drafts import PromptLookup
from renga.engine.grammar import GrammarError, GrammarMask, Grammars
from renga.engine.messages import Likely, Output, Reason, Submit
from renga.engine.numbers import NumberBound, NumberTokens
from renga.engine.sampler import Draw, Row, log_likelihood, pick
from renga.engine.sequence import Sequence
from renga.engine.text import TextStream, Vocabulary
from renga.engine.thinking import Thought, wrong_thinking


@dataclass(frozen=True)
class Language:
    """What turns tokens into text and grammars into masks, and which tokens end a turn."""

    vocabulary: Vocabulary
    grammars: Grammars
    end_ids: frozenset[int]

    @cached_property
    def numbers(self) -> NumberTokens:
        """What its tokens are to a number in JSON."""
        return NumberTokens.of(self.vocabulary, self.grammars.vocab, self.end_ids)

    def learn_numbers(self) -> None:
        """Have `numbers` ready, which takes a tenth of a second where a vocabulary is large."""
        _ = self.numbers

    def learn_words(self) -> None:
        """Have ready which tokens are alike, which takes as long."""
        _ = self.vocabulary.alike


class Request(Sequence):
    """A sequence with what its answer needs. `follow` and `output` take turns."""

    __slots__ = (
        "_end_ids",
        "_forced",
        "_logprobs",
        "_lookup",
        "_outputs",
        "_quiet",
        "_shown",
        "_thought",
        "_trigger",
        "_vocabulary",
        "draw",
        "ended",
        "error",
        "grammar",
        "max_tokens",
        "started",
        "text",
    )

    def __init__(
        self, submit: Submit, window: int, draw: Draw, language: Language, draft_tokens: int = 0
    ) -> None:
        super().__init__(
            id=submit.id,
            workspace=submit.salt,
            lane=submit.lane,
            tokens=list(submit.prompt),
            limit=min(len(submit.prompt) + submit.max_tokens, window),
            breakpoints=submit.cache,
        )
        self.draw = draw
        self.max_tokens = submit.max_tokens
        self.started = False
        self.ended: Reason | None = None
        self.error: str | None = None
        shown = submit.shown if submit.trigger is None else []
        self.text = TextStream(language.vocabulary, submit.stop, shown)
        self._shown = submit.shown
        self.grammar: GrammarMask | None = None
        if submit.grammar is not None:
            self.grammar = language.grammars.compile(submit.grammar, submit.trigger)
            if submit.digits is not None:
                self.grammar.numbers = NumberBound(language.numbers, submit.digits)
        self._vocabulary = language.vocabulary
        self._trigger, self._quiet = submit.trigger, submit.quiet
        self._thought: Thought | None = None
        if submit.thinking is not None:
            self._thought = Thought(submit.thinking, language.vocabulary)
        self._end_ids = language.end_ids
        self._logprobs = submit.logprobs
        self._lookup: PromptLookup | None = None
        if draft_tokens:
            # Calls that a trigger begins may never come: until then an answer is plain text.
            copies = self.grammar is not None and submit.trigger is None
            alike = language.vocabulary.alike if copies else None
            self._lookup = PromptLookup(self.tokens, draft_tokens, alike)
        self._forced: list[int] = []
        self._outputs: list[Output] = []

    @property
    def plain(self) -> bool:
        """Whether the largest logit of a row is its token, whatever came before."""
        return self.draw.greedy and self._rules is None

    @property
    def thinking_tokens(self) -> int:
        """Tokens produced so far that are thinking."""
        return 0 if self._thought is None else self._thought.tokens

    @property
    def _thinks(self) -> Thought | None:
        """The thinking that the next token belongs to."""
        return None if self._thought is None or self._thought.over else self._thought

    @property
    def _rules(self) -> GrammarMask | None:
        """The grammar that the next token must follow."""
        return self.grammar if self._trigger is None and self._thinks is None else None

    def guess(self, room: int) -> int:
        """Set the draft of the next step, at most `room` tokens; returns how many."""
        if self._lookup is None:
            return 0
        draft = self._lookup.guess(room)
        if draft and (grammar := self._rules) is not None:
            draft = draft[: grammar.valid(draft)]
        self.draft = draft
        return len(draft)

    def follow(self, rows: Row, best: list[int], drafted: int) -> int:
        """Take the tokens that a step's rows give: as many as the draft had right, and one more.

        `rows` `[drafted + 1, vocab]` are the logits after the last known token and after each of
        the draft's first `drafted` tokens, `best` the largest of each where the request is plain.
        Returns how many tokens of the draft were right.
        """
        held = 0
        if not self.max_tokens:
            self.ended = "max_tokens"
        elif self.generated or not self._jump():
            held = self._follow(rows, best, self.draft[:drafted])
        if self._lookup is not None:
            self._lookup.learn(drafted, held)
        self.draft = []
        return held

    def _follow(self, rows: Row, best: list[int], draft: list[int]) -> int:
        begin, row = len(self.tokens), 0
        while self._take_from(rows, best, row):
            self._jump()
            row = len(self.tokens) - begin
            if self.ended or row > len(draft) or self.tokens[begin:] != draft[:row]:
                break
        held = 0
        for token, guessed in zip(self.tokens[begin:], draft, strict=False):
            if token != guessed:
                break
            held += 1
        return held

    def outputs(self) -> list[Output]:
        """What was added since the last call: thinking, the answer, both in turn, or nothing."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def _take_from(self, rows: Row, best: list[int], place: int) -> bool:
        """Take the token of one row; false where the answer ends with it, or cannot go on."""
        if self._forced:
            token = self._forced.pop()
        elif self.plain:
            token = best[place]
        else:
            try:
                if (grammar := self._rules) is not None:
                    self.draw.allowed = grammar.allowed()
            except GrammarError as broken:
                self.ended, self.error = "grammar", str(broken)
                self._say([], self.text.finish())
                return False
            token = pick(rows[place], self.draw)
        if token in self._end_ids and (thought := self._thinks) is not None and not thought.due:
            # Whoever has thought enough to end the turn owes the answer yet.
            thought.close()
            token = thought.due[0]
        likely = None
        if self._logprobs is not None:
            likely = _likely(rows[place], token, self._logprobs)
        self._take(token, likely)
        return self.ended is None

    def _jump(self) -> bool:
        """Take the tokens that nothing leaves a choice about; whether there were any.

        They need no step. Where each token's probability is asked for, they wait for one, whose
        logits tell it; then, too, they are not drawn, so that asking changes no answer.
        """
        jumped = False
        while self.ended is None and not self._forced and (certain := self._certain()):
            if self._logprobs is not None:
                self._forced = certain[::-1]
                break
            for token in certain:
                if self.ended is None:
                    self._take(token)
            jumped = True
        return jumped

    def _certain(self) -> list[int]:
        """The tokens that must come next, whatever the logits say; often none."""
        if (thought := self._thinks) is not None:
            return list(thought.due)
        return [] if (grammar := self._rules) is None else grammar.forced()

    def _take(self, token: int, likely: Likely | None = None) -> None:
        """Append a token and its text, and see whether it is the last."""
        self.tokens.append(token)
        if (thought := self._thinks) is not None:
            text = thought.push(token)
            self.ended = self._limit_reached()
            if self.ended is not None:
                text += thought.finish()
            self._say([token], text, likely, thinking=True)
            return
        text = ""
        if token in self._end_ids:
            self.ended = "end_turn"
        else:
            if token in (self._trigger, self._quiet):
                text = self._pull_trigger()
            text += self.text.push(token)
            self.ended = self._reason_to_end(token)
        if self.ended is not None:
            text += self.text.finish()
        self._say([token], text, likely)

    def _pull_trigger(self) -> str:
        """Let the grammar rule, and no stop sequence; returns the text that was held back."""
        held = self.text.finish()
        self.text = TextStream(self._vocabulary, shown=self._shown)
        self._trigger = self._quiet = None
        return held

    def _say(
        self, tokens: list[int], text: str, likely: Likely | None = None, *, thinking: bool = False
    ) -> None:
        """Add to what `outputs` gives next."""
        if not (tokens or text):
            return
        if not self._outputs or self._outputs[-1].thinking != thinking:
            logprobs: list[Likely] | None = None if self._logprobs is None else []
            self._outputs.append(Output(self.id, [], "", logprobs, thinking))
        output = self._outputs[-1]
        output.tokens += tokens
        output.text += text
        if likely is not None and output.logprobs is not None:
            output.logprobs.append(likely)

    def _reason_to_end(self, token: int) -> Reason | None:
        if self.text.stopped is not None:
            return "stop_sequence"
        if (grammar := self._rules) is not None:
            try:
                grammar.accept(token)
            except GrammarError as broken:
                self.error = str(broken)
                return "grammar"
            if grammar.complete:
                return "end_turn"
        return self._limit_reached()

    def _limit_reached(self) -> Reason | None:
        if self.generated == self.max_tokens:
            return "max_tokens"
        return "window" if len(self.tokens) >= self.limit else None


def wrong_prompt(prompt: list[int], window: int, vocab: int) -> str | None:
    """What makes a prompt impossible, as a sentence."""
    if not prompt:
        return "prompt: it is empty; at least one token is expected"
    if len(prompt) >= window:
        return f"prompt is too long: {len(prompt)} tokens > {window - 1} maximum"
    if not 0 <= min(prompt) <= max(prompt) < vocab:
        return f"prompt: token ids from 0 to {vocab - 1} are expected"
    return None


def wrong_submit(submit: Submit, vocab: int) -> str | None:
    """What makes a request impossible beside its prompt, as a sentence."""
    if submit.trigger is not None and submit.grammar is None:
        return f"trigger: {submit.trigger}; there is no grammar that begins with it"
    if submit.thinking is not None and (wrong := wrong_thinking(submit.thinking, vocab)):
        return wrong
    return _wrong_draw(submit)


def _wrong_draw(submit: Submit) -> str | None:
    if submit.max_tokens < 0:
        return f"max_tokens: {submit.max_tokens}; 0 (the prompt alone) or more is expected"
    if submit.logprobs is not None and submit.logprobs < 0:
        return f"logprobs: {submit.logprobs}; 0 (the token's own alone) or more is expected"
    if not 0 <= submit.temperature < math.inf:
        return f"temperature: {submit.temperature}; a finite number of at least 0 is expected"
    if not 0 < submit.top_p <= 1:
        return f"top_p: {submit.top_p}; above 0 and at most 1 is expected"
    if submit.top_k < 0:
        return f"top_k: {submit.top_k}; 0 (no limit) or more is expected"
    if not 0 <= submit.min_p <= 1:
        return f"min_p: {submit.min_p}; 0 to 1 is expected"
    return None


def _likely(row: Row, token: int, top: int) -> Likely:
    """The log probabilities of a token and of the `top` likeliest, the likeliest first."""
    logs = log_likelihood(row)
    top = min(top, logs.size)
    places = np.argpartition(-logs, top - 1)[:top] if top else np.empty(0, dtype=np.int64)
    places = places[np.lexsort((places, -logs[places]))]
    return Likely(float(logs[token]), [(int(place), float(logs[place])) for place in places])
