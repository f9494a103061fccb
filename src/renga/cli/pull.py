"""`renga models pull`: a model from a hub into the state folder.

Owns what is shown before anything is fetched: licence, size, files, and why these.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from renga.cli.options import ConfigOption
from renga.config import Config, hub_config, load_config
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.models.pulling import Plan

SHOWN_FILES = 12


def pull(
    name: Annotated[str, typer.Argument(metavar="ORG/NAME[:FILE][@REVISION]")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be fetched, and fetch nothing.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Fetch a model from the hub: OpenVINO, safetensors or GGUF. Goes on where it was stopped.

    FILE is a file of the repository or a quantization, such as Q4_K_M. The hub is HF_ENDPOINT, else
    huggingface.co; HF_TOKEN opens gated and private models.
    """
    asyncio.run(_pull(name, load_config(config), dry_run=dry_run))


async def _pull(text: str, config: Config, *, dry_run: bool) -> None:
    from renga.cli.progress import Bar
    from renga.models.hub import Hub
    from renga.models.names import ModelName
    from renga.models.pulling import plan_pull, pull

    name, there = ModelName.parse(text), hub_config()
    async with Hub(there.endpoint, there.token) as hub:
        plan = await plan_pull(name, config.home, hub, sleep=asyncio.sleep)
        for line in words_of(plan):
            typer.echo(line)
        if dry_run:
            return
        with Bar() as bar:
            await pull(plan, hub, bar, sleep=asyncio.sleep)
    _check(plan)
    if plan.selection.format == "safetensors":
        convert(name.repo, config)
    served = name.repo + (f":{name.file}" if name.file else "")
    typer.echo(f"{'pulled' if plan.missing else 'all there'}: {plan.folder}")
    typer.echo(f"  renga serve --model {served}")


def _check(plan: Plan) -> None:
    """Raise SetupError where what came is as the hub has it, and is no model all the same."""
    from renga.models.library import check

    try:
        check(plan.folder, plan.selection)
    except SetupError as error:
        raise SetupError(
            f"'{plan.name}' came as the hub has it, but cannot be served: {error.message}",
            f"choose another; renga models remove {plan.name.repo} frees the disk",
        ) from error


def convert(name: str, config: Config) -> None:
    """Make what is served of a checkpoint, so that no start has to wait for it."""
    from renga.cli.progress import Bar
    from renga.models.find import prepare_model

    with Bar() as bar:
        bar.remark("its weights become 8-bit ones, once")
        done = 0

        def tell(now: int, total: int) -> None:
            nonlocal done
            if not done:
                bar.begin(total, 0)
            bar.advance(now - done)
            done = now

        prepare_model(name, config.home, tell)


def words_of(plan: Plan) -> list[str]:
    """The plan, for a person."""
    from renga.models.selection import FORMAT_WORDS, file_size

    there = plan.repository
    licensed = there.license or "none is stated, so ask its owner what you may do with it"
    link = f" ({there.license_link})" if there.license_link else ""
    lines = [
        f"{plan.name.repo} at {there.commit[:12]} ({there.revision})",
        f"  licence: {licensed}{link}",
        f"  format:  {FORMAT_WORDS[plan.selection.format]}, "
        f"{file_size(plan.size)} in {_count(len(plan.files), 'file')}",
    ]
    if plan.selection.reason:
        lines.append(f"  chosen:  {plan.selection.reason}")
    lines += [f"  {file_size(f.size):>9}  {f.path}" for f in plan.files[:SHOWN_FILES]]
    if len(plan.files) > SHOWN_FILES:
        lines.append(f"             and {len(plan.files) - SHOWN_FILES} more")
    if plan.missing and len(plan.missing) < len(plan.files):
        left = sum(file.size for file in plan.missing)
        lines.append(f"  to fetch: {file_size(left)}; the rest is here")
    if plan.gone:
        lines.append("  goes:    " + ", ".join(file.path for file in plan.gone))
    return lines


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("s" if number != 1 else "")
