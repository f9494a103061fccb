"""Grammars that an answer must follow: token masks by llguidance, one matcher for each sequence.

Owned rules: an invalid grammar is an error before its request starts; an end-of-turn token is
allowed exactly where the grammar may end; when nothing can follow, the answer is complete; a large
grammar is compiled beside the steps, and one that comes again not at all, unless it broke.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from renga.engine.messages import GRAMMAR_FUEL
from renga.engine.numbers import NumberBound

# Compiled grammars that are kept. A large one takes 5 MB, the usual one a few KB.
_KEPT = 16
_MARK = re.compile("<.*>", re.DOTALL)


class GrammarError(Exception):
    """A grammar that cannot be used; the sentence says why."""


class Grammars:
    """Compiles grammars for one model. The tokenizer's tables are built when first needed.

    `prepare` may run in another thread than `compile`.
    """

    def __init__(self, tokenizer: Path, vocab: int, end_ids: list[int]) -> None:
        self.vocab = vocab
        """How many ids the model has."""
        self._path = tokenizer
        self._end_ids = end_ids
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[str, LLMatcher | GrammarError] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, grammar: str) -> None:
        """Compile a grammar, so that `compile` has it at once. What is wrong, that one says."""
        with self._lock:
            known = grammar in self._kept
            if known:
                self._kept.move_to_end(grammar)
        if not known:
            self._keep(grammar, self._matcher(grammar))

    def compile(self, grammar: str, begin: int | None = None) -> "GrammarMask":
        """A matcher at the beginning of that grammar (llguidance's JSON or Lark text).

        `begin` is the token that it must be able to begin with. Raises GrammarError.
        """
        with self._lock:
            found = self._kept.get(grammar)
        if found is None:
            found = self._matcher(grammar)
            self._keep(grammar, found)
        if isinstance(found, GrammarError):
            raise GrammarError(str(found))
        if begin is not None and not found.validate_tokens([begin]):
            raise GrammarError(f"grammar: it cannot begin with its trigger, token {begin}")
        return GrammarMask(found.deep_copy(), self.vocab, partial(self._forget, grammar, found))

    def _forget(self, grammar: str, matcher: LLMatcher) -> None:
        """Compile a grammar anew when it comes again: what its copies share broke with one."""
        with self._lock:
            if self._kept.get(grammar) is matcher:
                del self._kept[grammar]

    def _keep(self, grammar: str, matcher: LLMatcher | GrammarError) -> None:
        with self._lock:
            self._kept[grammar] = matcher
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _matcher(self, grammar: str) -> LLMatcher | GrammarError:
        try:
            if self._tokenizer is None:
                self._tokenizer = self._load()
        except GrammarError as error:
            return error
        limits = LLParserLimits(initial_lexer_fuel=GRAMMAR_FUEL)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        return GrammarError(f"grammar: {_reason(matcher)}") if matcher.is_error() else matcher

    def _load(self) -> LLTokenizer:
        try:
            text = _without_names(self._path.read_text(encoding="utf-8"))
            return LLTokenizer(text, n_vocab=self.vocab, eos_token=self._end_ids)
        except (KeyError, ValueError) as error:
            raise GrammarError(
                f"grammar: this model's tokenizer cannot follow one: {error}"
            ) from error


def _without_names(tokenizer: str) -> str:
    """The tokenizer with its special tokens, and its marks, renamed to what no text can spell.

    A schema may hold `<|im_end|>` as a plain string. By its own name the library would write it
    with the one token that ends the turn; a control character stands in no JSON text. Marks, such
    as `<tool_call>`, are tokens that the library takes for special though their texts are shown.
    """
    parts = json.loads(tokenizer)
    marks = [t for t in parts["added_tokens"] if t["special"] or _MARK.fullmatch(t["content"])]
    names = {t["content"]: f"\0{t['id']}" for t in marks}
    for token in marks:
        token.update(content=names[token["content"]], special=True)
    words = parts["model"]["vocab"]
    parts["model"]["vocab"] = {names.get(word, word): id for word, id in words.items()}
    parts["post_processor"] = None  # may name special tokens; only text is tokenized here
    return json.dumps(parts)


def _reason(matcher: LLMatcher) -> str:
    """What is wrong, without the library's state that follows it."""
    return str(matcher.get_error()).partition("\n")[0]


class GrammarMask:
    """Where one answer stands in its grammar. `broke` is called where following it fails."""

    def __init__(self, matcher: LLMatcher, vocab: int, broke: Callable[[], None]) -> None:
        self._matcher = matcher
        self._vocab = vocab
        self._broke = broke
        self.numbers: NumberBound | None = None
        """How long the numbers in it may become; None leaves that to the grammar."""
        self._bits = np.zeros((vocab + 31) // 32, dtype=np.int32)

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Flags of the tokens that may come next, for every id of the model."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        bytes_ = self._bits.view(np.uint8)
        flags = np.unpackbits(bytes_, count=self._vocab, bitorder="little").view(np.bool_)
        # A matcher that broke allows the end of the turn: an answer that only looks complete.
        if self._matcher.is_error() or not flags.any():
            raise self._broken("no token may follow")
        if self.numbers is not None:
            self.numbers.narrow(flags)
        return flags

    def accept(self, token: int) -> None:
        """Move on by a sampled token."""
        if not self._matcher.consume_token(token):
            raise self._broken(f"token {token} refused")
        if self.numbers is not None:
            self.numbers.push(token)

    def valid(self, tokens: list[int]) -> int:
        """How many of these tokens could follow, one after the other. Nothing moves."""
        return int(self._matcher.validate_tokens(tokens))

    def forced(self) -> list[int]:
        """The tokens that must follow, as the tokenizer would write them; often none.

        Bytes that are certain, but may yet be written with another token together with what
        follows them, are not among them.
        """
        return list(self._matcher.compute_ff_tokens())

    @property
    def complete(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())

    def _broken(self, what: str) -> GrammarError:
        self._broke()
        return GrammarError(f"grammar: {what}: {_reason(self._matcher)}")
