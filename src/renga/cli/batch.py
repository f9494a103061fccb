"""`renga batch`: create, list, show, watch, cancel and delete Message Batches, and fetch results.

Works on a running server, over the API that every client has. A file is read line by line and sent
while it is read: what is wrong with it is told with the number of the line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from renga.cli.screen import show_table, whisper
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.cli.calls import Server

WATCH_SECONDS = 0.5
KNOWN_ID = Annotated[str, typer.Argument(metavar="ID", help="As `renga batch list` has it.")]
UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        help="The server (key: ANTHROPIC_API_KEY).",
    ),
]
HERE = "http://127.0.0.1:8787"


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(
        help="Have many requests answered when there is room, at half price.", no_args_is_help=True
    )
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("watch")(watch)
    group.command("results")(results)
    group.command("cancel")(cancel)
    group.command("delete")(delete)
    return group


def create(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help='Lines such as {"custom_id": "a", "params": {...}}; "params" may be left out '
            "around the fields of a message.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", help="For lines that name none.", show_default=False
        ),
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option("--max-tokens", "-n", min=1, help="For lines that say none."),
    ] = 1024,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it has ended.")] = False,
    url: UrlOption = HERE,
) -> None:
    """Create a batch of the requests in a file, and print its id."""
    server = _server(url)
    made = server.send("/v1/messages/batches", _body(file, model, max_tokens))
    typer.echo(made["id"])
    if wait:
        _watch(server, made["id"])


def list_all(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 20,
    url: UrlOption = HERE,
) -> None:
    """List batches, the newest first."""
    found = _server(url).ask("GET", f"/v1/messages/batches?limit={limit}")
    show_table(
        ["id", "state", "created", ">waiting", ">succeeded", ">errored", ">canceled", ">expired"],
        [
            [b["id"], b["processing_status"], _when(b["created_at"]), *_counts(b)]
            for b in found["data"]
        ],
    )


def show(batch_id: KNOWN_ID, url: UrlOption = HERE) -> None:
    """Show how far a batch is, and what it cost and saved so far."""
    server = _server(url)
    batch, told = server.ask("GET", f"/v1/messages/batches/{batch_id}"), _progress(server, batch_id)
    typer.echo(f"{batch_id}: {batch['processing_status']}")
    for name in ("total", "waiting", "running", "succeeded", "errored", "canceled", "expired"):
        typer.echo(f"  {name:<10}{told[name]:>10,}")
    typer.echo(f"  tokens    {told['input_tokens']:>10,} in, {told['output_tokens']:,} out")
    typer.echo(f"  cost      ${told['cost_usd']}, ${told['saved_usd']} saved")
    for name in ("created_at", "expires_at", "cancel_initiated_at", "ended_at", "archived_at"):
        if batch[name]:
            typer.echo(f"  {name.removesuffix('_at').replace('_', ' '):<17}{_when(batch[name])}")


def watch(batch_id: KNOWN_ID, url: UrlOption = HERE) -> None:
    """Watch a batch until it has ended: rate, time that is left, cost so far and saved."""
    _watch(_server(url), batch_id)


def results(
    batch_id: KNOWN_ID,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Else to stdout.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there, unasked.")
    ] = False,
    url: UrlOption = HERE,
) -> None:
    """Fetch the results of a batch that has ended, a JSON object a line."""
    if output is not None:
        _may_write(output, overwrite=overwrite)
    lines = _server(url).lines(f"/v1/messages/batches/{batch_id}/results")
    if output is None:
        for line in lines:
            sys.stdout.write(line.decode())
        return
    count = _save(lines, output)
    whisper(f"{count:,} results in {output}")


def cancel(batch_id: KNOWN_ID, url: UrlOption = HERE) -> None:
    """Cancel what is not done of a batch."""
    found = _server(url).ask("POST", f"/v1/messages/batches/{batch_id}/cancel")
    typer.echo(f"{batch_id}: {found['processing_status']}")


def delete(batch_id: KNOWN_ID, url: UrlOption = HERE) -> None:
    """Delete a batch that has ended, with its results."""
    _server(url).ask("DELETE", f"/v1/messages/batches/{batch_id}")
    typer.echo(f"{batch_id} is deleted")


def _server(url: str) -> Server:
    from renga.cli.calls import Server

    return Server.of_environment(url)


def _counts(batch: dict[str, Any]) -> list[str]:
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return [f"{batch['request_counts'][name]:,}" for name in names]


def _when(time_: str) -> str:
    return time_[:19].replace("T", " ")


# --- a file as a batch ----------------------------------------------------------------------------


def _body(file: Path, model: str | None, max_tokens: int) -> Iterator[bytes]:
    """The body of a batch, made while the file is read. Raises SetupError, naming the line."""
    begun = False
    seen: dict[str, int] = {}
    for number, request in _requests(file):
        params = request["params"]
        if model is not None:
            params.setdefault("model", model)
        params.setdefault("max_tokens", max_tokens)
        name = request.setdefault("custom_id", f"line-{number}")
        if name in seen:
            raise SetupError(
                f"{file}, line {number}: custom_id '{name}' is on line {seen[name]} too",
                "give each request one of its own, or leave all of them out",
            )
        seen[name] = number
        if "model" not in params:
            raise SetupError(
                f"{file}, line {number}: it names no model", "give one for all with --model"
            )
        yield (b"," if begun else b'{"requests":[') + json.dumps(request).encode()
        begun = True
    if not begun:
        raise SetupError(f"{file} holds no request", "one JSON object a line")
    yield b"]}"


def _requests(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number and request, its fields put into `params` where they stand bare."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _request(file, number, line)
    except OSError as error:
        raise SetupError(f"cannot read {file}: {error.strerror}") from error


def _request(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SetupError(f"{file}, line {number}: it is not UTF-8 text") from error
    except ValueError as error:
        raise SetupError(f"{file}, line {number}: it is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise SetupError(f"{file}, line {number}: it is no JSON object")
    if "params" not in found:
        named = {"custom_id": found.pop("custom_id")} if "custom_id" in found else {}
        found = {**named, "params": found}
    if not isinstance(found["params"], dict):
        raise SetupError(f"{file}, line {number}: params is no JSON object")
    name = found.get("custom_id", "")
    if not isinstance(name, str):
        raise SetupError(f"{file}, line {number}: custom_id is no string")
    return found


# --- results as a file ----------------------------------------------------------------------------


def _may_write(output: Path, *, overwrite: bool) -> None:
    """Ask whether a file that is there may be replaced. Raises SetupError where it may not."""
    if not output.exists() or overwrite:
        return
    if sys.stdin.isatty() and typer.confirm(f"{output} is there; replace it?"):
        return
    raise SetupError(f"{output} is there", "replace it with --overwrite, or name another file")


def _save(lines: Iterator[bytes], output: Path) -> int:
    """Write a file that is there whole or not at all; how many lines."""
    begun = output.with_name(f".{output.name}.part")
    count = 0
    try:
        with begun.open("wb") as file:
            for line in lines:
                file.write(line)
                count += 1
        begun.replace(output)
    except OSError as error:
        raise SetupError(f"cannot write {output}: {error.strerror}") from error
    finally:
        begun.unlink(missing_ok=True)
    return count


# --- watching -------------------------------------------------------------------------------------


def _progress(server: Server, batch_id: str) -> dict[str, Any]:
    return server.ask("GET", f"/v1/renga/batches/{batch_id}")


def _watch(server: Server, batch_id: str) -> None:
    """A bar at a terminal, a line at each tenth elsewhere, until the batch has ended."""
    from renga.cli.progress import Counter

    told = _progress(server, batch_id)
    with Counter(told["total"], _done(told)) as counter:
        while told["processing_status"] != "ended":
            counter.at(_done(told), f"${_cents(told['cost_usd'])}, {_saved(told)}")
            time.sleep(WATCH_SECONDS)
            told = _progress(server, batch_id)
        counter.at(_done(told), f"${_cents(told['cost_usd'])}, {_saved(told)}")
    ends = ("succeeded", "errored", "canceled", "expired")
    typer.echo(
        ", ".join(f"{told[name]:,} {name}" for name in ends if told[name])
        + f"; ${told['cost_usd']}, ${told['saved_usd']} saved"
    )


def _done(told: dict[str, Any]) -> int:
    return int(told["total"]) - int(told["waiting"]) - int(told["running"])


def _saved(told: dict[str, Any]) -> str:
    return f"${_cents(told['saved_usd'])} saved"


def _cents(cost: str) -> str:
    return f"{Decimal(cost):.4f}"
