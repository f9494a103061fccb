"""A prompt as the model reads it: its chat template, then tokens.

Owns three rules: counting and inference render in this one place; what a caller wrote can never
become a control token, be it text, thinking, a tool, a call or a result; and where a block ends in
the tokens is measured on the prompt itself, never on a part of it. It knows no windows, no
lifetimes and no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from jinja2 import TemplateError

from renga.caching import Position
from renga.chat.messages import Pen, messages_of, strings_of, tools_of, with_tools_told
from renga.chat.probing import forms_of
from renga.chat.sandbox import USUAL, Bounds
from renga.chat.template import REFUSALS, Abilities, Message, ModelTemplate, Now
from renga.chat.tokenizer import Tokenizer
from renga.errors import InvalidRequest, SetupError
from renga.models.find import read_template
from renga.reading import Call, Definition, Result, Text, WrittenTurn, written_turns
from renga.types import Prompt

ZERO_WIDTH_SPACE = "\u200b"


@dataclass(frozen=True)
class Measured:
    """A prompt as text and tokens, and where some of its blocks end in both.

    `text` holds `breaker` where a written control token is parted. `ends` are characters of it;
    `lengths` are tokens: so many hold nothing but what stands before the end, whatever follows it.
    Both never fall from one position to the next.
    """

    text: str
    breaker: str | None
    tokens: list[int]
    ends: list[int]
    lengths: list[int]


class ChatTemplate:
    """One model's template and tokenizer. `now` is what templates that print a date see.

    Safe to use from several threads at once.
    """

    def __init__(
        self,
        source: str,
        tokenizer: Tokenizer,
        *,
        special: dict[str, str] | None = None,
        now: Now = datetime.now,
        bounds: Bounds = USUAL,
    ) -> None:
        self.tokenizer = tokenizer
        self._template = ModelTemplate(source, special or {}, now, bounds)
        self.forms = forms_of(self._template, tokenizer.markers)
        """How the model writes calls and thinking."""

    @classmethod
    def load(cls, folder: Path, *, now: Now = datetime.now) -> ChatTemplate:
        """Read a model folder's template and tokenizer. Raises SetupError that names the file."""
        file, source = read_template(folder)
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        special = _special_tokens(folder / "tokenizer_config.json")
        return cls.of(source, tokenizer, special=special, now=now, file=file)

    @classmethod
    def of(
        cls,
        source: str,
        tokenizer: Tokenizer,
        *,
        special: dict[str, str],
        file: Path,
        now: Now = datetime.now,
    ) -> ChatTemplate:
        """A template that stands in `file`, whatever kind that is. Raises SetupError, naming it."""
        try:
            return cls(source, tokenizer, special=special, now=now)
        except TemplateError as error:
            reason = str(error).partition("\n")[0]
            raise SetupError(
                f"model file {file} is no chat template: {reason}", "copy the model folder again"
            ) from error

    @property
    def abilities(self) -> Abilities:
        """What the template can express."""
        return self._template.abilities

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that the template ends an answer with."""
        return tuple(self.tokenizer.markers[end] for end in self.forms.ends)

    @property
    def _knows_tools(self) -> bool:
        """Whether tools can be told: by the template, or in the system text."""
        return self.abilities.tools and (self.abilities.definitions or self.forms.call is not None)

    def read(self, prompt: Prompt) -> list[WrittenTurn]:
        """What the model reads of `prompt`, in the order in which the template writes it."""
        return written_turns(prompt, system_first=self.abilities.system_first)

    def conversation(self, prompt: Prompt) -> tuple[list[Message], list[Message]]:
        """Messages and tools as the template is given them, where nothing in them is a marker."""
        turns = _asked(self.read(prompt))
        return self._given(turns, Pen(self.tokenizer))

    def text(self, prompt: Prompt) -> str:
        """The prompt as text. Raises InvalidRequest where the template cannot express it."""
        text, breaker = self._render(prompt)
        return text.replace(breaker, "") if breaker else text

    def shielded(self, prompt: Prompt) -> str:
        """As `text`, for who makes tokens of it by itself: markers that a caller wrote are parted.

        An invisible space parts them, which such a prompt then holds.
        """
        text, breaker = self._render(prompt)
        return text.replace(breaker, ZERO_WIDTH_SPACE) if breaker else text

    def tokens(self, prompt: Prompt) -> list[int]:
        """The prompt as tokens. Raises InvalidRequest, as `text` does."""
        return self.tokenizer.encode(*self._render(prompt))

    def measure(
        self, prompt: Prompt, turns: Sequence[WrittenTurn], wanted: Sequence[Position]
    ) -> Measured:
        """The prompt as tokens, and where the positions `wanted` of `turns` end, in their order.

        `turns` are what `read` gave. Where the template moves a block, a position ends where the
        first of what follows it does; where it rewrites one because of what stands behind it, where
        the two forms part.
        """
        asked = self._ask(turns, prompt)
        filled = self._fill(asked)
        text = _until_prefill(filled, asked)
        breaker = asked.pen.breaker
        if not wanted:
            return Measured(text, breaker, self.tokenizer.encode(text, breaker), [], [])
        ends = [min(end, len(text)) for end in self._ends(asked, filled, wanted)]
        tokens, lengths = self.tokenizer.measure(text, breaker, ends)
        return Measured(text, breaker, tokens, ends, lengths)

    def continuation(self, text: str, path: str) -> list[int]:
        """Tokens of a text behind the prompt, by themselves; none of them is a control token.

        Raises InvalidRequest that names `path` for half a character.
        """
        _check_unicode([(path, text)], text)
        breaker = self.tokenizer.break_for(text)
        return self.tokenizer.encode(self.tokenizer.shield(text, breaker), breaker)

    def _render(self, prompt: Prompt) -> tuple[str, str | None]:
        """The text, and the character that breaks markers in it, where there is one."""
        asked = self._ask(self.read(prompt), prompt)
        return _until_prefill(self._fill(asked), asked), asked.pen.breaker

    def _ask(self, turns: Sequence[WrittenTurn], prompt: Prompt) -> _Asked:
        """What the template is to write, without control tokens in it."""
        turns = _asked(turns)
        if not self._knows_tools:
            _refuse_tools(turns)
        strings = list(strings_of(turns))
        written = "".join(text for _, text in strings)
        _check_unicode(strings, written)
        prefilled = turns[-1].role == "assistant"
        breaker = None
        if prefilled or self.tokenizer.has_marker(written):
            breaker = self.tokenizer.break_for(written)
        thinking = prompt.thinking is not None and prompt.thinking.type != "disabled"
        return _Asked(turns, written, Pen(self.tokenizer, breaker), prefilled, thinking)

    def _given(self, turns: Sequence[WrittenTurn], pen: Pen) -> tuple[list[Message], list[Message]]:
        """Messages and tools as the template is given them."""
        messages, tools = messages_of(turns, pen, self.abilities), tools_of(turns, pen)
        form = self.forms.call
        if tools and form is not None and not self.abilities.definitions:
            return with_tools_told(messages, tools, form.prompt), []
        return messages, tools

    def _fill(self, asked: _Asked) -> str:
        """What the template makes of it."""
        pen = asked.pen
        messages, tools = self._given(asked.turns, pen)
        if asked.prefilled:
            # The character that parts control tokens also marks the end of what is to be continued.
            messages[-1]["content"] += pen.breaker
        try:
            return self._template.render(
                messages, tools, answer=not asked.prefilled, thinking=asked.thinking
            )
        except REFUSALS as error:
            raise InvalidRequest(
                f"messages: this model's chat template refuses them: {error}"
            ) from error

    def _ends(self, asked: _Asked, filled: str, wanted: Sequence[Position]) -> list[int]:
        """Where in `filled` the positions end."""
        marks = self.tokenizer.unused(asked.written + (asked.pen.breaker or ""), len(wanted))
        places = {(p.turn, p.block): mark for p, mark in zip(wanted, marks, strict=True)}
        pen = replace(asked.pen, marks=places)
        marked = self._marked(replace(asked, pen=pen))
        has_tools = any(turn.role == "tools" for turn in asked.turns[:2])
        if has_tools and _without(marked, marks) != filled:
            # A template that looks into schemas writes others where a mark is in them, or refuses.
            marked = self._marked(replace(asked, pen=replace(pen, careful=True)))
        return _find_marks(marked, filled, marks)

    def _marked(self, asked: _Asked) -> str:
        """What the template makes of it with marks: nothing where it refuses those."""
        try:
            return self._fill(asked)
        except InvalidRequest:
            return ""


@dataclass(frozen=True)
class _Asked:
    """What a template is to write. `written` is every string in `turns`."""

    turns: Sequence[WrittenTurn]
    written: str
    pen: Pen
    prefilled: bool
    thinking: bool


def _asked(turns: Sequence[WrittenTurn]) -> Sequence[WrittenTurn]:
    """`turns` up to where the answer begins: an empty last assistant turn asks for nothing."""
    last = turns[-1]
    if last.role != "assistant":
        return turns
    if any(isinstance(block, Call) for block in last.blocks):
        raise InvalidRequest("messages: the final assistant message calls a tool without a result")
    text = "".join(block.text for block in last.blocks if isinstance(block, Text))
    if not text.strip():
        if len(turns) == 1 or text:
            raise InvalidRequest(
                "messages: final assistant content cannot be white space; leave the message out"
            )
        return turns[:-1]
    if text != text.rstrip():
        raise InvalidRequest(
            "messages: final assistant content cannot end with trailing whitespace"
        )
    return turns


def _refuse_tools(turns: Sequence[WrittenTurn]) -> None:
    for turn in turns:
        for block in turn.blocks:
            if isinstance(block, Definition):
                raise InvalidRequest("tools: this model's chat template has no tools")
            if isinstance(block, Call | Result):
                raise InvalidRequest(f"{block.path}: this model's chat template has no tools")


def _until_prefill(text: str, asked: _Asked) -> str:
    """What the template wrote, up to the end of a turn that is to be continued."""
    if not asked.prefilled:
        return text
    assert asked.pen.breaker is not None, "it marks the end of a prefill"
    kept, end, _ = text.rpartition(asked.pen.breaker)
    if not end:
        raise InvalidRequest(
            "messages: this model's chat template does not show the final assistant message; "
            "leave it out"
        )
    return kept


def _without(marked: str, marks: Sequence[str]) -> str:
    return re.sub("[" + "".join(marks) + "]", "", marked)


def _find_marks(marked: str, plain: str, marks: Sequence[str]) -> list[int]:
    """Where each of `marks` stands in `plain`, which is `marked` without them, or nearly."""
    found: dict[str, int] = {}
    pattern = re.compile("[" + "".join(marks) + "]")
    for nth, match in enumerate(pattern.finditer(marked)):
        found.setdefault(match[0], match.start() - nth)
    common = _common_length(pattern.sub("", marked), plain)
    ends = [min(found.get(mark, common), common) for mark in marks]
    if ends and marks[0] not in found:
        ends[0] = 0
    # A position ends nowhere behind a later one; what was not shown ends where the one before does.
    for i in range(1, len(ends)):
        if marks[i] not in found:
            ends[i] = ends[i - 1]
    for i in range(len(ends) - 2, -1, -1):
        ends[i] = min(ends[i], ends[i + 1])
    return ends


def _common_length(one: str, other: str) -> int:
    """How many characters two texts share from their beginnings."""
    least, most = 0, min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _check_unicode(strings: Sequence[tuple[str, str]], whole: str) -> None:
    """JSON can spell halves of characters, which no tokenizer takes."""
    try:
        whole.encode()
    except UnicodeEncodeError as error:
        for path, text in strings:
            if whole[error.start] in text:
                raise InvalidRequest(
                    f"{path}: the text holds {whole[error.start]!a}, which is half a character; "
                    "accepted: valid Unicode"
                ) from error


def _special_tokens(file: Path) -> dict[str, str]:
    """`bos_token` and its like, which templates may print. A folder without the file has none."""
    if not file.exists():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SetupError(f"model file {file} is not JSON", "copy the model folder again") from error
    found = {}
    for key, value in config.items():
        # Older files spell a token as an object with its flags.
        content = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(content, str):
            found[key] = content
    return found
