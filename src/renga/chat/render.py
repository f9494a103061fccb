"""A prompt as the model reads it: its chat template, then tokens.

Owns three rules: counting and inference render in this one place; what a caller wrote can never
become a control token; and what is only a client's bookkeeping is left out, so that it cannot spoil
a prefix that many requests share. Templates are set up as `transformers` sets them up, which is the
oracle. It knows no windows and no engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from renga.chat.tokenizer import Tokenizer
from renga.errors import InvalidRequest, SetupError
from renga.types import Prompt, TextParam

# The first line of the system text of some clients; it changes with every call (lessons, 1).
BOOKKEEPING = "x-anthropic-billing-header"

# Blocks of one turn are paragraphs to the model; blocks of an answer were one text once.
BETWEEN_BLOCKS = {"system": "\n\n", "user": "\n\n", "assistant": ""}

Now = Callable[[], datetime]


@dataclass(frozen=True)
class Turn:
    """Consecutive messages of one role, as one."""

    role: str
    content: str


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

    def _render(self, turns: Sequence[Turn]) -> tuple[str, str | None]:
        """The text, and the character that breaks markers in it, where there is one."""
        written = "".join(t.content for t in turns)
        _check_unicode(written)
        prefilled = turns[-1].role == "assistant"
        if not prefilled and not self.tokenizer.has_marker(written):
            return self._fill(turns), None
        breaker = self.tokenizer.break_for(written)
        safe = [Turn(t.role, self.tokenizer.shield(t.content, breaker)) for t in turns]
        if not prefilled:
            return self._fill(safe), breaker
        # The same character marks the end of the turn that is to be continued.
        safe[-1] = Turn(safe[-1].role, safe[-1].content + breaker)
        text, end, _ = self._fill(safe).rpartition(breaker)
        if not end:
            raise InvalidRequest(
                "messages: this model's chat template does not show the final assistant message; "
                "leave it out"
            )
        return text, breaker

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
    written = [("system", list(prompt.system or []))]
    written += [(m.role, m.content) for m in prompt.messages]
    merged: list[tuple[str, list[str]]] = []
    for role, blocks in written:
        texts = _kept(role, blocks)
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(texts)
        else:
            merged.append((role, texts))
    turns = [Turn(role, BETWEEN_BLOCKS[role].join(texts)) for role, texts in merged]
    if turns[0].role == "system" and not turns[0].content:
        turns.pop(0)
    if turns[-1].role == "assistant":
        turns = _checked_prefill(turns)
    return turns


def is_prefilled(prompt: Prompt) -> bool:
    """Whether the answer is to continue text that the caller put into its mouth."""
    return turns_of(prompt)[-1].role == "assistant"


def _kept(role: str, blocks: Sequence[TextParam]) -> list[str]:
    """Texts of `blocks`, without the lines of bookkeeping at the head of the system text."""
    texts = [b.text for b in blocks]
    if role == "system":
        for i, text in enumerate(texts):
            texts[i] = "".join(dropwhile(_is_bookkeeping, text.splitlines(keepends=True)))
            if texts[i]:
                break
    return [t for t in texts if t]


def _is_bookkeeping(line: str) -> bool:
    return line.lower().startswith(BOOKKEEPING)


def _check_unicode(text: str) -> None:
    """JSON can spell halves of characters, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"messages: the text holds {text[error.start]!a}, which is half a character; "
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
