"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration; else RENGA_CONFIG, else ./renga.toml, else built-in defaults.",
        show_default=False,
    ),
]
TierOption = Annotated[
    str, typer.Option("--tier", "-t", metavar="NAME", help="haiku, sonnet, opus, or a model name.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Serve this model alone: ORG/NAME[:FILE] as pulled, a folder, or a .gguf file.",
        show_default=False,
    ),
]
SystemOption = Annotated[
    str | None,
    typer.Option("--system", "-s", metavar="TEXT", help="System prompt.", show_default=False),
]
MaxTokensOption = Annotated[
    int, typer.Option("--max-tokens", "-n", min=1, max=128_000, help="Longest answer, in tokens.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="URL",
        help="Ask a running server (key: ANTHROPIC_API_KEY) instead of starting the model here.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
