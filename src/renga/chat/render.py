"""A prompt as the model reads it: its chat template, then tokens.

Owns three rules: counting and inference render in this one place; what a caller wrote can never
become a control token; and where a block ends in the tokens is measured on the prompt itself, never
on a part of it. Templates are set up as `transformers` sets them up, which is the oracle. It knows
no windows, no lifetimes and no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from renga.caching import Position, WrittenTurn, written_turns
from renga.chat.tokenizer import Tokenizer
from renga.errors import InvalidRequest, SetupError
from renga.types import Prompt

# Blocks of one turn are paragraphs to the model; blocks of an answer were one text once.
BETWEEN_BLOCKS = {"system": "\n\n", "user": "\n\n", "assistant": ""}

Now = Callable[[], datetime]


@dataclass(frozen=True)
class Turn:
    """Consecutive messages of one role, as one."""

    role: str
    content: str


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


class _Generation(Extension):
    """`{% generation %}` marks answers for training; for us its body is all there is to it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Replace the block by its body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


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
    ) -> None:
        self.tokenizer = tokenizer
        self._special = special or {}
        self._template = _compile(source, now)

    @classmethod
    def load(cls, folder: Path, *, now: Now = datetime.now) -> ChatTemplate:
        """Read a model folder's template and tokenizer. Raises SetupError that names the file."""
        file = folder / "chat_template.jinja"
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        special = _special_tokens(folder / "tokenizer_config.json")
        try:
            source = file.read_text(encoding="utf-8")
            return cls(source, tokenizer, special=special, now=now)
        except (OSError, UnicodeDecodeError, TemplateError) as error:
            reason = str(error).partition("\n")[0]
            raise SetupError(
                f"model file {file} is no chat template: {reason}", "copy the model folder again"
            ) from error

    def text(self, prompt: Prompt) -> str:
        """The prompt as text. Raises InvalidRequest where the template cannot express it."""
        text, breaker = self._render(turns_of(prompt))
        return text.replace(breaker, "") if breaker else text

    def tokens(self, prompt: Prompt) -> list[int]:
        """The prompt as tokens. Raises InvalidRequest, as `text` does."""
        return self.tokenizer.encode(*self._render(turns_of(prompt)))

    def measure(self, written: Sequence[WrittenTurn], wanted: Sequence[Position]) -> Measured:
        """The prompt as tokens, and where the positions `wanted` end in it, in their order.

        Where the template moves a block, a position ends where the first of what follows it begins;
        where it rewrites one because of what stands behind it, where the two forms part.
        """
        safe, breaker = self._safe(_as_read(written))
        filled = self._fill(safe)
        text = _until_prefill(filled, safe[-1].role, breaker)
        if not wanted:
            return Measured(text, breaker, self.tokenizer.encode(text, breaker), [], [])
        marks = self.tokenizer.unused("".join(t.content for t in safe), len(wanted))
        marked = self._fill(_with_marks(safe, breaker, written, wanted, marks))
        ends = [min(end, len(text)) for end in _find_marks(marked, filled, marks)]
        tokens, lengths = self.tokenizer.measure(text, breaker, ends)
        return Measured(text, breaker, tokens, ends, lengths)

    def continuation(self, text: str, path: str) -> list[int]:
        """Tokens of a text behind the prompt, by themselves; none of them is a control token.

        Raises InvalidRequest that names `path` for half a character.
        """
        _check_unicode(text, path)
        breaker = self.tokenizer.break_for(text)
        return self.tokenizer.encode(self.tokenizer.shield(text, breaker), breaker)

    def _render(self, turns: Sequence[Turn]) -> tuple[str, str | None]:
        """The text, and the character that breaks markers in it, where there is one."""
        safe, breaker = self._safe(turns)
        return _until_prefill(self._fill(safe), safe[-1].role, breaker), breaker

    def _safe(self, turns: Sequence[Turn]) -> tuple[Sequence[Turn], str | None]:
        """`turns` without control tokens in them, and the character that breaks those."""
        written = "".join(t.content for t in turns)
        _check_unicode(written)
        prefilled = turns[-1].role == "assistant"
        if not prefilled and not self.tokenizer.has_marker(written):
            return turns, None
        breaker = self.tokenizer.break_for(written)
        safe = [Turn(t.role, self.tokenizer.shield(t.content, breaker)) for t in turns]
        if prefilled:
            # The same character marks the end of the turn that is to be continued.
            safe[-1] = Turn(safe[-1].role, safe[-1].content + breaker)
        return safe, breaker

    def _fill(self, turns: Sequence[Turn]) -> str:
        """What the template makes of `turns`."""
        try:
            return self._template.render(
                messages=[{"role": t.role, "content": t.content} for t in turns],
                tools=None,
                documents=None,
                add_generation_prompt=turns[-1].role != "assistant",
                **self._special,
            )
        except TemplateError as error:
            raise InvalidRequest(
                f"messages: this model's chat template refuses them: {error}"
            ) from error


def turns_of(prompt: Prompt) -> list[Turn]:
    """System text and merged messages, in order. An empty last assistant turn asks for nothing."""
    return _as_read(written_turns(prompt))


def _as_read(written: Sequence[WrittenTurn]) -> list[Turn]:
    turns = [Turn(t.role, BETWEEN_BLOCKS[t.role].join(b.text for b in t.blocks)) for t in written]
    if turns[-1].role == "assistant":
        turns = _checked_prefill(turns)
    return turns


def is_prefilled(prompt: Prompt) -> bool:
    """Whether the answer is to continue text that the caller put into its mouth."""
    return turns_of(prompt)[-1].role == "assistant"


def _until_prefill(text: str, role: str, breaker: str | None) -> str:
    """What the template wrote, up to the end of a turn that is to be continued."""
    if role != "assistant" or breaker is None:
        return text
    kept, end, _ = text.rpartition(breaker)
    if not end:
        raise InvalidRequest(
            "messages: this model's chat template does not show the final assistant message; "
            "leave it out"
        )
    return kept


def _with_marks(
    safe: Sequence[Turn],
    breaker: str | None,
    written: Sequence[WrittenTurn],
    wanted: Sequence[Position],
    marks: Sequence[str],
) -> list[Turn]:
    """`safe` with a mark behind the last visible character of each block in `wanted`.

    Behind the last visible one, so that a template that trims white space does so as without it.
    """
    marked = list(safe)
    # From the end, so that a mark does not move the places of those before it.
    for position, mark in zip(reversed(wanted), reversed(marks), strict=True):
        turn, content = written[position.turn], marked[position.turn].content
        between = len(BETWEEN_BLOCKS[turn.role])
        sizes = [len(b.text) + between for b in turn.blocks[: position.block + 1]]
        at = _shielded_place(safe[position.turn].content, breaker, sum(sizes) - between)
        while at and content[at - 1].isspace():
            at -= 1
        if at:
            marked[position.turn] = replace(
                marked[position.turn], content=content[:at] + mark + content[at:]
            )
    return marked


def _shielded_place(shielded: str, breaker: str | None, at: int) -> int:
    """Where in `shielded` the first `at` characters of what it was made of end."""
    if breaker is None:
        return at
    sizes = accumulate(map(len, shielded.split(breaker)))
    return at + sum(1 for size in sizes if size < at)


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


def _check_unicode(text: str, path: str = "messages") -> None:
    """JSON can spell halves of characters, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"{path}: the text holds {text[error.start]!a}, which is half a character; "
            "accepted: valid Unicode"
        ) from error


def _checked_prefill(turns: list[Turn]) -> list[Turn]:
    last = turns[-1].content
    if not last.strip():
        if len(turns) == 1 or last:
            raise InvalidRequest(
                "messages: final assistant content cannot be white space; leave the message out"
            )
        return turns[:-1]
    if last != last.rstrip():
        raise InvalidRequest(
            "messages: final assistant content cannot end with trailing whitespace"
        )
    return turns


def _compile(source: str, now: Now) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )

    def strftime_now(form: str) -> str:
        return now().strftime(form)

    environment.filters["tojson"] = _to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=strftime_now)
    return environment.from_string(source)


def _refuse(message: str) -> NoReturn:
    """What templates call where a conversation does not suit them."""
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without jinja2's escapes for HTML, which no model was trained on."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


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
