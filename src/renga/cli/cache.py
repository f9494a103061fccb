"""`renga cache`: why one request did not read what another left in the prompt cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from renga.cli.options import ConfigOption
from renga.cli.screen import show_table
from renga.config import BackendConfig, Config, load_config
from renga.errors import InvalidRequest, RengaError, SetupError

if TYPE_CHECKING:
    from renga.chat.compare import Comparison, Parting
    from renga.types import Prompt

DIFFERENT = 1

RequestFile = Annotated[
    str, typer.Argument(metavar="FILE", help="The JSON body of a request; - reads it from stdin.")
]


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Look into prompt caching.", no_args_is_help=True)
    # With one command alone, the group itself would be that command.
    group.callback()(lambda: None)
    group.command("diff")(diff)
    return group


def diff(first: RequestFile, second: RequestFile, config: ConfigOption = None) -> None:
    """Show where two requests part, and what the second would read of the first's prompt.

    Thinking that this server did not sign is left out, as in an answer; what `context_management`
    would edit is not. Exits with 0 where one prompt begins with the other, and with 1 where they
    part.
    """
    from renga.chat.compare import compare
    from renga.chat.render import ChatTemplate
    from renga.models.find import find_model

    if first == second == "-":
        raise SetupError("only one of the two requests can come from stdin", "name a file")
    prompts = read_request(first), read_request(second)
    configured = load_config(config)
    backends = [_served_by(prompt, configured) for prompt in prompts]
    if backends[0] != backends[1]:
        names = " and ".join(f"'{backend.name}'" for backend in backends)
        typer.echo(f"Nothing is shared: backends {names} serve the two models.")
        raise typer.Exit(DIFFERENT)
    model = find_model(backends[0].model, configured.home)
    template = ChatTemplate.load(model.path)
    first_read, second_read = (_as_read(prompt, configured) for prompt in prompts)
    found = compare(template, first_read, second_read, backends[0].cache_minimum_tokens)
    _show(found, (first, second))
    if found.partings:
        raise typer.Exit(DIFFERENT)


def read_request(name: str) -> Prompt:
    """The request in a file, or on stdin. Raises SetupError that names it."""
    from renga.http.validation import parse
    from renga.types import CountRequest, MessagesRequest

    shown = "stdin" if name == "-" else name
    body = _read_body(name, shown)
    asked: type[Prompt] = MessagesRequest if "max_tokens" in body else CountRequest
    try:
        return parse(asked, body)
    except InvalidRequest as error:
        hint = "it is to be a body as the API takes it"
        raise SetupError(f"{shown}: {error.message}", hint) from error


def _read_body(name: str, shown: str) -> dict[str, Any]:
    hint = "it is to hold the JSON body of one request to /v1/messages"
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        body = json.loads(raw)
    except OSError as error:
        raise SetupError(f"cannot read {shown}: {error.strerror}", hint) from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{shown} is not valid JSON: {error}", hint) from error
    if not isinstance(body, dict):
        raise SetupError(f"{shown} holds no JSON object", hint)
    return body


def _served_by(prompt: Prompt, config: Config) -> BackendConfig:
    """The backend that would serve `prompt`. Raises SetupError where it has no tokens."""
    from renga.models.locate import resolved
    from renga.routing import TIERS, serving_tier, tier_of

    try:
        tier = tier_of(prompt.model, config.aliases)
    except RengaError as error:
        raise SetupError(error.message) from error
    served = serving_tier(tier, [t for t in TIERS if t in config.tiers])
    backend = resolved(config.backends[config.tiers[served].backends[0]], config.home)
    if backend.kind != "local":
        raise SetupError(
            f"backend '{backend.name}', which serves {tier}, is {backend.kind}: it has no cache",
            "compare requests to a model that runs here",
        )
    return backend


def _as_read(prompt: Prompt, config: Config) -> Prompt:
    """`prompt` as the server reads it. Raises InvalidRequest for what it would refuse."""
    from renga import conversation, thinking
    from renga.chat.signing import KEY_FILE, Signer
    from renga.routing import CANONICAL, tier_of

    conversation.check(prompt)
    signed_here = (config.home / KEY_FILE).exists()
    signer = Signer.load(config.home) if signed_here else Signer.temporary()
    return thinking.opened(prompt, signer, CANONICAL[tier_of(prompt.model, config.aliases)])


def _show(found: Comparison, names: tuple[str, str]) -> None:
    sizes = " and ".join(f"{size:,}" for size in found.sizes)
    typer.echo(f"{sizes} tokens, of which the first {found.shared:,} are equal: {_blocks(found)}")
    if not found.partings:
        typer.echo("One prompt begins with the other.")
    for name, parting in zip(names, found.partings, strict=False):
        typer.echo(f"{name} goes on in {_place(parting)}")
        typer.echo(f"  {parting.before!r} | {parting.after!r}")
    if not found.marks:
        typer.echo(f"{names[1]} has no cache_control, so it would read nothing.")
        return
    show_table(
        ["mark", "ttl", ">tokens", "finds the entry at", ">would read"],
        [
            [mark.path, mark.ttl, f"{mark.tokens:,}", mark.found or "none", f"{mark.reads:,}"]
            for mark in found.marks
        ],
    )


def _blocks(found: Comparison) -> str:
    from renga.chat.compare import BLOCK_TOKENS

    whole = found.whole_blocks
    return f"{whole:,} whole blocks, {whole * BLOCK_TOKENS:,} tokens"


def _place(parting: Parting) -> str:
    return parting.path or "what the model's template adds behind the last block"
