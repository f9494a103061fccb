"""`renga models list`, `show`, `verify`, `remove`, `add`: the models that are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from renga.cli.options import ConfigOption
from renga.cli.pull import convert
from renga.cli.screen import show_table
from renga.config import load_config
from renga.errors import SetupError

FAILED = 1
COLUMNS = ["model", "format", ">size", "licence", "state"]

ModelArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="As `renga models list` has it.")
]


def list_models(config: ConfigOption = None) -> None:
    """List the models on this machine: shipped, pulled, added, and those that came only in part."""
    from renga.models import library
    from renga.models.selection import file_size

    show_table(
        COLUMNS,
        [
            [e.full_name, e.words, file_size(e.size), e.license, e.trouble or "ready"]
            for e in library.list_models(load_config(config).home)
        ],
    )


def show(name: ModelArgument, config: ConfigOption = None) -> None:
    """Show where a model came from, its licence, and its files with their digests."""
    from renga.models import library
    from renga.models.selection import file_size

    home = load_config(config).home
    folder, manifest = library.record_of(name, home)
    states = [entry for entry in library.list_models(home) if entry.folder == folder]
    typer.echo(f"{states[0].name}: {folder}")
    for entry in states:
        label = f" {entry.label}" if entry.label else ""
        typer.echo(f"  {entry.words}{label}, {file_size(entry.size)}: {entry.trouble or 'ready'}")
    for words in _spoken(folder):
        typer.echo(f"  {words}")
    if library.is_shipped(name):
        typer.echo("  from:    this package; MODEL_CARD.md in its folder says what it is")
        return
    if manifest is None:
        typer.echo("  no record: it was put there by hand, or its pull is not finished")
        return
    at = f" at {manifest.commit} ({manifest.revision})" if manifest.commit else ""
    link = f" ({manifest.license_link})" if manifest.license_link else ""
    typer.echo(f"  from:    {manifest.source}{at}")
    typer.echo(f"  licence: {manifest.license or 'none is recorded'}{link}")
    for file in manifest.files:
        typer.echo(f"  {file_size(file.size):>9}  {file.path}  {file.algorithm}:{file.digest}")


def _spoken(folder: Path) -> tuple[str, ...]:
    """What the chat template of a folder can express; nothing where there is none to ask."""
    from renga.chat.probing import words_of
    from renga.chat.render import ChatTemplate

    try:
        return words_of(ChatTemplate.load(folder).forms)
    except SetupError:
        return ()


def verify(name: ModelArgument, config: ConfigOption = None) -> None:
    """Read a model's files again and compare their digests with those that were recorded."""
    from renga.cli.progress import Bar
    from renga.models import library
    from renga.models.manifest import verify as compare

    folder, manifest = library.record_of(name, load_config(config).home)
    if manifest is None:
        raise SetupError(
            f"'{name}' has no record to compare with",
            "pip checks what comes with renga: pip install --force-reinstall renga"
            if library.is_shipped(name)
            else f"pull it: renga models pull {name}",
        )
    with Bar() as bar:
        bar.begin(manifest.size, 0)
        wrong = compare(folder, manifest, bar.advance)
    for words in wrong:
        typer.echo(words)
    if wrong:
        again = f"renga models pull {name}" if manifest.commit else "renga models add PATH"
        typer.echo(f"mend: renga models remove {name}, then {again}", err=True)
        raise typer.Exit(FAILED)
    typer.echo(f"{manifest.name}: {len(manifest.files)} files are as recorded")


def remove(name: ModelArgument, config: ConfigOption = None) -> None:
    """Remove a model that was pulled or added; with `:FILE`, one GGUF file of several."""
    from renga.models import library
    from renga.models.selection import file_size

    size = library.remove(name, load_config(config).home)
    typer.echo(f"removed {name}: {file_size(size)}")


def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A model folder, or a .gguf file.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="Its name here; else the folder's.", show_default=False
        ),
    ] = None,
    copied: Annotated[
        bool, typer.Option("--copy", help="Copy its files instead of linking to them.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Give a model on this machine a name, after a check that it could be served."""
    from renga.cli.progress import Bar
    from renga.models import library

    settings = load_config(config)
    named = name or path.expanduser().resolve().name.removesuffix(".gguf")
    with Bar() as bar:
        manifest = library.add(path, named, settings.home, copied=copied, progress=bar)
    if any(file.path.endswith(".safetensors") for file in manifest.files):
        convert(manifest.name, settings)
    typer.echo(f"added {manifest.name}: {len(manifest.files)} files")
    typer.echo(f"  renga serve --model {manifest.name}")
