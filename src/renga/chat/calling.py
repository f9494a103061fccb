"""Calls of tools as grammars that the engine's sampler can follow, in a model's own form.

Owns two rules: a call always parses and names a tool that was given; and its arguments meet the
tool's schema: always where the tool is strict, else as far as the grammar library and the form can
follow it. It knows no form in particular, and no models: the engine compiles the grammar against a
vocabulary.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from renga.chat.forms import Form, Tool, Unfollowable, Words
from renga.chat.forms.base import regex
from renga.chat.schema import OPTIONS, compiled
from renga.chat.subset import check_form, without_patterns, written
from renga.errors import InvalidRequest
from renga.toolkit.specs import ToolSpec

LONGEST_KEPT = 1_000_000  # characters of a grammar that is remembered: some thousand tools
SPACED: Any = {**OPTIONS, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True)
class ToolGrammar:
    """What an answer with calls must follow; with a `trigger`, from that token on."""

    grammar: str
    trigger: int | None = None


def tools_grammar(
    specs: Sequence[ToolSpec],
    form: Form,
    *,
    lazy: bool,
    parallel: bool,
    markers: Mapping[str, int] | None = None,
) -> ToolGrammar:
    """A grammar for calls of some tools.

    `markers` are the ids of the tokens that a tokenizer has for marks; without one a mark is text.
    A `lazy` grammar lets any text come before the first call, or alone; else the answer is calls.
    `parallel` allows more than one call, where the form has room for them.

    The arguments of a strict tool meet its schema. Those of another do as far as the grammar
    library can follow: keywords that it lacks are passed over, and where nothing else helps, the
    arguments are any JSON object. Raises InvalidRequest, which names the tool's schema.
    """
    if not specs:
        raise InvalidRequest("tools: there are none; at least one is expected")
    frame = _Frame(form, Words(markers or {}, spaced=form.spaced), lazy, parallel)
    # Most can be followed as they are. Else each is looked at by itself; and where one by one they
    # can be followed, they may be too much all together.
    with contextlib.suppress(InvalidRequest):
        return frame.around(specs, _as_they_are)
    with contextlib.suppress(InvalidRequest):
        return frame.around([frame.followed(spec) for spec in specs], _arguments)
    return frame.around([frame.followed(spec) for spec in specs], _any_arguments)


class ToolGrammars:
    """`tools_grammar`, remembering what it gave: an agent's tools come again with every turn.

    Raises what it raises. Threads may share one.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, ToolGrammar] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self,
        specs: Sequence[ToolSpec],
        form: Form,
        *,
        lazy: bool,
        parallel: bool,
        markers: Mapping[str, int],
    ) -> ToolGrammar:
        """The grammar of these tools in that form."""
        said = [[spec.name, spec.strict, spec.schema] for spec in specs]
        known = {token: markers[token] for token in sorted(markers)}
        asked = [said, form.name, form.spaced, form.parallel, lazy, parallel, known]
        key = hashlib.sha256(json.dumps(asked).encode()).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = tools_grammar(specs, form, lazy=lazy, parallel=parallel, markers=markers)
        if len(made.grammar) > LONGEST_KEPT:
            return made
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


Arguments = Callable[[ToolSpec, Any], dict[str, Any]]


class _Frame:
    """What stands around calls, and makes a whole grammar of their rules."""

    def __init__(self, form: Form, words: Words, lazy: bool, parallel: bool) -> None:
        self._form, self._words, self._lazy = form, words, lazy
        self._parallel = parallel and form.parallel
        self._options = SPACED if form.spaced else OPTIONS

    def around(self, specs: Sequence[ToolSpec], arguments: Arguments) -> ToolGrammar:
        """The grammar of these calls. Raises InvalidRequest."""
        lines, trigger = self._start()
        calls: list[str] = []
        for number, spec in enumerate(specs):
            calls.append(f"call_{number}")
            lines += self._rules(spec, number, arguments)
        lines.append(f"call: {' | '.join(calls)}")
        return ToolGrammar(compiled("\n".join(lines), "tools"), trigger)

    def followed(self, spec: ToolSpec) -> ToolSpec:
        """The tool, as far as the form can hold a call to its schema. Raises InvalidRequest."""
        try:
            tool = Tool(spec.name, spec.schema, _arguments(spec, self._options))
            self._form.shape.rules(tool, 0, self._words)
        except Unfollowable as error:
            field = f"{spec.path or 'tools'}.input_schema"
            if spec.strict:
                raise InvalidRequest(f"{field}: {error}") from error
            return _loosened(spec, self._form, self._words, self._options)
        return spec

    def _rules(self, spec: ToolSpec, number: int, arguments: Arguments) -> list[str]:
        followed = arguments(spec, self._options)
        try:
            return self._form.shape.rules(
                Tool(spec.name, spec.schema, followed), number, self._words
            )
        except Unfollowable as error:
            raise InvalidRequest(f"{spec.path or 'tools'}.input_schema: {error}") from error

    def _parted(self, text: str) -> str:
        """`text`, with the white space that it begins with by itself.

        Behind a call both what separates calls and what ends them may come. A lexer does not go
        back: where they begin alike, what they share must be a word of its own.
        """
        rest = text.lstrip()
        space = text[: len(text) - len(rest)]
        return " ".join(self._words.literal(part) for part in (space, rest) if part) or '""'

    def _start(self) -> tuple[list[str], int | None]:
        """The rules for what stands around calls, and the token that they begin with if lazy."""
        form, words = self._form, self._words
        more = f" ({self._parted(form.between)} call)*" if self._parallel else ""
        after = f" {self._parted(form.after)}" if form.after else ""
        calls = f"call{more}{after}"
        before = words.literal(form.before) if form.before else ""
        if not self._lazy:
            return [f"start: {before} {calls}"], None
        if form.opening:
            text = f"{words.literal(form.opening)} TEXT"
            return [f"start: {text} | {before} {calls}", "TEXT: /(?s:.*)/"], None
        if form.bare:
            # What begins as a call is one.
            return [f"start: TEXT | {calls}", r"TEXT: /(\s*([^\s{](?s:.*))?)/"], None
        if form.begin in words.markers:
            return [f"start: {before} {calls}"], words.markers[form.begin]
        head, lines = words.until(form.begin, "HEAD")
        rest = words.literal(form.before.removeprefix(form.begin))
        text = f"TEXT: /(?s:.*)/ & ~/(?s:.*){regex(form.begin)}(?s:.*)/"
        return [f"start: TEXT | {head} {rest} {calls}", text, *lines], None


def _loosened(spec: ToolSpec, form: Form, words: Words, options: Any) -> ToolSpec:
    """A tool that is not strict, with a schema that the form can hold a call to.

    Properties that it cannot write are any value, and how they go together is passed over; where
    that does not help, any arguments are.
    """
    schema = spec.schema
    named = schema.get("properties")
    if isinstance(named, Mapping):
        kept = {"type": "object", "properties": named, "required": schema.get("required", [])}
        each = {**kept, "properties": {name: {} for name in named}}
        for weaker in (kept, each):
            found = replace(spec, schema=weaker)
            with contextlib.suppress(Unfollowable):
                form.shape.rules(Tool(spec.name, weaker, _arguments(found, options)), 0, words)
                return found
    return replace(spec, schema={"type": "object"})


def _arguments(spec: ToolSpec, options: Any) -> dict[str, Any]:
    """The schema of a tool's arguments as the grammar library can read it. InvalidRequest."""
    field = f"{spec.path or 'tools'}.input_schema"
    if spec.strict:
        return _followed(spec.schema, field, options)
    check_form(spec.schema, field)
    # Patterns for other engines look around, which ours does not.
    for weaker in (spec.schema, without_patterns(spec.schema)):
        with contextlib.suppress(InvalidRequest):
            return _followed(weaker, field, {**options, "lenient": True})
    return _any_arguments(spec, options)


def _as_they_are(spec: ToolSpec, options: Any) -> dict[str, Any]:
    """The same, where it is not known yet whether it can be followed. InvalidRequest."""
    options = options if spec.strict else {**options, "lenient": True}
    return {"x-guidance": options, **written(spec.schema, spec.path)}


def _any_arguments(spec: ToolSpec, options: Any) -> dict[str, Any]:
    """The same, where nothing but a strict tool's is held to its schema."""
    if spec.strict:
        return _arguments(spec, options)
    return {"x-guidance": options, "type": "object"}


def _followed(schema: Mapping[str, Any], field: str, options: Any) -> dict[str, Any]:
    """The schema with the library's options, once it is known that it can follow them."""
    found = {"x-guidance": options, **written(schema, field)}
    compiled(f"start: %json {json.dumps(found)}", field)
    return found
