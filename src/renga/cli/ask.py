"""`renga ask`: one question, one answer, streamed. Owns how a question is put together; no more."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from renga.cli.options import (
    AgainstOption,
    ConfigOption,
    MaxTokensOption,
    ModelOption,
    SystemOption,
    TierOption,
)
from renga.cli.screen import whisper, write
from renga.config import environment, load_config
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.cli.sources import Source


def run(  # noqa: PLR0913  the options of one command
    question: Annotated[str | None, typer.Argument(show_default=False, help="What to ask.")] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", metavar="FILE", help="Text to put before the question."),
    ] = None,
    tier: TierOption = "haiku",
    system: SystemOption = None,
    max_tokens: MaxTokensOption = 1024,
    schema: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="JSON Schema that the answer must meet."),
    ] = None,
    model: ModelOption = None,
    against: AgainstOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask once and stream the answer. Text that is piped in stands before the question."""
    texts = [_read(path) for path in files or []]
    parts = [*texts, _piped(), question or ""]
    content = "\n\n".join(part for part in parts if part.strip())
    if not content:
        raise SetupError("nothing to ask", 'give a question: renga ask "..."; or pipe a text in')
    body: dict[str, Any] = {
        "model": tier,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": content}],
    }
    if system is not None:
        body["system"] = system
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": _read_schema(schema)}}
    asyncio.run(_answer(body, lambda: open_source(against, config, model)))


async def _answer(body: dict[str, Any], opened: Callable[[], Awaitable[Source]]) -> None:
    from renga.cli.sources import Account, request_of, texts

    request = request_of(body)
    source = await opened()
    account = Account()
    try:
        async for piece in texts(source, request, account):
            write(piece)
        write("\n")
    finally:
        await source.aclose()
    whisper(account.line())


async def open_source(against: str | None, config: Path | None, model: str | None = None) -> Source:
    """The server at `against`, or the parts of one in this process. Raises SetupError."""
    from renga.cli.sources import Here, There

    if against is not None and model is not None:
        raise SetupError("--model and --against exclude each other", "a server has its own models")
    if against is not None:
        return There(against, environment().get("ANTHROPIC_API_KEY") or "renga")
    return await Here.start(load_config(config, model=model))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SetupError(f"cannot read {path}: {reason}") from error


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(_read(path))
    except ValueError as error:
        raise SetupError(f"{path} is not JSON: {error}", "--json takes a JSON Schema") from error
    if not isinstance(schema, dict):
        raise SetupError(f"{path} holds no JSON object", "--json takes a JSON Schema")
    return schema


def _piped() -> str:
    """What a pipe or a file brings to stdin. A terminal, or nothing at all, brings nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError):
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SetupError("cannot read what is piped in: it is not UTF-8 text") from error
