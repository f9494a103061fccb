"""`make docs`: writes the parts of the documentation that the source knows better.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->` in a Markdown file; `PARTS` says
what makes it. `tests/test_docs.py` fails while a file differs from what this would write. The text
around the parts is written by hand.
"""

from __future__ import annotations

import ast
import re
import sys
import typing
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path

import typer
from typer.testing import CliRunner

from docs import backends, endpoints, faults, fields
from docs.endpoints import table
from renga import cli, config, errors, routing
from renga.backends.openai.quirks import QUIRKS
from renga.bench import workloads as bench
from renga.bench.bars import BARS
from renga.chat.forms import FORMS
from renga.http import versions
from renga.http.betas import BETAS, HARMLESS_FIELDS, Beta
from renga.http.operations import OPERATIONS
from renga.http.words import FIELD_WORDS
from renga.models.families import FAMILIES, TEXT_PARTS
from renga.prices import PICO_PER_TOKEN, load_prices
from renga.types import (
    IGNORED_FIELDS,
    KNOWN_BLOCKS,
    SUPPORTED_BLOCKS,
    UNSUPPORTED_FIELDS,
    CountRequest,
    MessagesRequest,
)

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(<!-- begin (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end (?P=name) -->)", re.S)

NAMES = (
    "haiku",
    "renga-sonnet-1",
    "claude-haiku-4-5",
    "claude-haiku-4.5",
    "claude-3-5-haiku-latest",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-1@20250805",
    "claude-mythos-1",
    "gpt-4o",
)


def settings() -> str:
    """Every setting by section."""
    out, last = [], ""
    for section, key, default, about in config.settings():
        if section != last:
            out.append([f"**[{section}]**", "", ""])
            last = section
        out.append([f"`{key}`", _toml(default), about])
    return table(("setting", "default", "what it does"), out)


def _toml(default: str) -> str:
    value = ast.literal_eval(default) if default else None
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def quirks() -> str:
    """Servers of OpenAI's chat API, and in what they differ."""
    rows = []
    for name, row in QUIRKS.items():
        known = [
            *(f"`owned_by: {owner}`" for owner in row.owner),
            *([row.host] if row.host else []),
        ]
        rows.append(
            [
                f"`{name}`",
                row.about,
                ", ".join(known),
                {"template": "template", "effort": "`reasoning_effort`", "none": ""}.get(
                    row.thinking, "`reasoning`"
                ),
                "told" if row.stop == "told" else "found here",
                ", ".join(sorted(row.forms)),
                "each piece" if row.progress else "at the end",
                "estimated" if row.count == "estimate" else "exact",
                "yes" if row.prefill else "",
                f"{row.window:,}",
            ]
        )
    head = "`quirks`|server|known by|thinking|stop sequences|forms|tokens told|prompts counted"
    return table((*head.split("|"), "goes on from a begun answer", "window if unknown"), rows)


def environment() -> str:
    """Environment variables."""
    rows = [
        ["`RENGA_CONFIG`", "the configuration file, where `--config` names none"],
        ["`RENGA_HOME`", "the state folder; `~/.renga` if absent"],
    ]
    rows += [[f"`{v}`", f"`{key}` of `[{s}]`"] for v, (s, key) in config.ENVIRONMENT.items()]
    rows += [[f"`{v}`", words] for v, words in config.HUB_ENVIRONMENT.items()]
    return table(("variable", "sets"), rows)


def built_in() -> str:
    """The configuration where there is no file."""
    return f"```toml\n{config.BUILT_IN.strip()}\n```\n"


def commands() -> Iterator[tuple[str, str]]:
    """(name, help) of every command, groups included, as a terminal of 88 columns shows it."""
    application = cli.build()
    yield from _helps(application, typer.main.get_command(application), [])


def _helps(
    application: typer.Typer, command: typing.Any, path: list[str]
) -> Iterator[tuple[str, str]]:
    if path:
        shown = CliRunner().invoke(
            application, [*path, "--help"], prog_name="renga", terminal_width=88
        )
        yield " ".join(["renga", *path]), shown.output.strip()
    for name, inner in getattr(command, "commands", {}).items():
        yield from _helps(application, inner, [*path, name])


def command_help() -> str:
    """The help of every command."""
    return "\n".join(f"## {name}\n\n```text\n{text}\n```\n" for name, text in commands())


def error_classes() -> list[type[errors.RengaError]]:
    """Every error that can reach a caller, in the order of the tree's drawing."""
    found = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, errors.RengaError)
        and cls is not errors.RengaError
    ]
    return sorted(found, key=lambda cls: cls.status)


def error_table() -> str:
    """Status and wire type of every error."""
    return table(
        ("error", "status", "`error.type`", "when"),
        (
            [f"`{cls.__name__}`", str(cls.status), f"`{cls.type}`", _first(cls.__doc__ or "")]
            for cls in error_classes()
        ),
    )


def request_fields() -> str:
    """Fields of a request that are honoured."""
    fields = [name for name in MessagesRequest.model_fields if name in FIELD_WORDS]
    return table(
        ("field", "needed", "count_tokens", "what is accepted"),
        (
            [
                f"`{name}`",
                "yes" if MessagesRequest.model_fields[name].is_required() else "",
                "yes" if name in CountRequest.model_fields else "",
                FIELD_WORDS[name],
            ]
            for name in fields
        ),
    )


def ignored_fields() -> str:
    """Fields that are accepted without effect."""
    ignored = IGNORED_FIELDS | HARMLESS_FIELDS
    return table(("field", "what that means"), ([f"`{n}`", w] for n, w in ignored.items()))


def refused_fields() -> str:
    """Fields of the API that are refused by name."""
    return table(
        ("field", "what the answer says"), ([f"`{n}`", w] for n, w in UNSUPPORTED_FIELDS.items())
    )


def blocks() -> str:
    """Content blocks."""
    refused = ", ".join(f"`{b}`" for b in sorted(KNOWN_BLOCKS))
    accepted = ", ".join(f"`{b}`" for b in SUPPORTED_BLOCKS)
    return f"Accepted in requests: {accepted}. Refused by name: {refused}.\n"


def api_versions() -> str:
    """Versions of the API."""
    removed = ", ".join(f"`{name}`" for name in versions.REMOVED_IN_NEW)
    both = " and ".join(f"`{v}`" for v in versions.VERSIONS)
    return (
        f"`anthropic-version` is required: {both} are accepted. In `{versions.NEW}` there are no "
        f"{removed}: a value is a 400.\n"
    )


def betas() -> str:
    """Every known beta, those of one effect together."""
    effects: dict[Beta, list[str]] = {}
    for name, beta in BETAS.items():
        effects.setdefault(beta, []).append(f"`{name}`")
    return table(
        ("beta", "effect", "what it is about"),
        ([", ".join(names), effect, words] for (effect, words), names in effects.items()),
    )


def model_names() -> str:
    """What some names resolve to."""
    rows = []
    for name in NAMES:
        try:
            tier = routing.tier_of(name)
            rows.append([f"`{name}`", tier, f"`{routing.CANONICAL[tier]}`"])
        except errors.NotFound:
            rows.append([f"`{name}`", "404 `not_found_error`", ""])
    return table(("`model` in the request", "tier", "`model` in the answer"), rows)


def prices() -> str:
    """The built-in price card."""
    classes = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
    rows = [
        [tier, *(_dollars(getattr(price, c)) for c in classes)]
        for tier, price in load_prices().items()
    ]
    return table(("$ per million tokens", *(c.replace("_", " ") for c in classes)), rows)


def _dollars(pico: int) -> str:
    return f"{(Decimal(pico) / PICO_PER_TOKEN).normalize():f}"


def modules() -> str:
    """One line per module: the first sentence of its docstring."""
    rows = []
    for path in sorted((ROOT / "src" / "renga").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "src" / "renga").with_suffix("").parts)
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.name != "__main__.py" and "migrations" not in path.parts and name != "__init__":
            rows.append([f"`{name.removesuffix('.__init__')}`", _first(doc)])
    return table(("module", "what it is"), rows)


def _first(doc: str) -> str:
    """The first sentence, on one line."""
    return re.split(r"(?<=[.!?])\s", " ".join(doc.split("\n\n")[0].split()))[0]


def workloads() -> str:
    """What `renga bench engine` asks."""
    return table(
        ("workload", "what it asks"),
        ([f"`{name}`", bench.about(name)] for name in [*bench.WORKLOADS, *bench.OWN]),
    )


def bench_bars() -> str:
    """What must hold of what it measures."""
    rows = [
        [bar.name, f"{'≥' if bar.least else '≤'} {bar.bar:g}", ", ".join(bar.models)]
        for bar in BARS
    ]
    return table(("bar", "", "model"), rows)


def families() -> str:
    """Architectures that are built from their checkpoints."""
    rows = [[f"`{name}`", family.title, family.such_as] for name, family in FAMILIES.items()]
    for name, (_, part) in TEXT_PARTS.items():
        rows.append(
            [f"`{name}`", f"{FAMILIES[part].title}, its text alone", "models that also see"]
        )
    return table(("architecture", "family", "such as"), rows)


def forms() -> str:
    """Every form of calls, by what it writes."""
    out = ""
    for form in FORMS:
        call = form.write([("add", {"a": 17, "unit": "kg"})])
        out += f"`{form.name}`\n\n```text\n{call}\n```\n\n"
    return f"\n{out}"


PARTS: dict[str, Callable[[], str]] = {
    "faults": faults.faults,
    "forms": forms,
    "families": families,
    "endpoints": endpoints.index,
    "fields": fields.tables,
    "capabilities": backends.capabilities,
    **{f"endpoint-{endpoints.slug(o)}": partial(endpoints.page, o) for o in OPERATIONS},
    "betas": betas,
    "quirks": quirks,
    "settings": settings,
    "environment": environment,
    "built-in": built_in,
    "commands": command_help,
    "errors": error_table,
    "request-fields": request_fields,
    "ignored-fields": ignored_fields,
    "refused-fields": refused_fields,
    "blocks": blocks,
    "versions": api_versions,
    "model-names": model_names,
    "prices": prices,
    "modules": modules,
    "workloads": workloads,
    "bars": bench_bars,
}


def pages() -> list[Path]:
    """Every Markdown file that may hold parts."""
    docs = ROOT / "docs"
    found = [*sorted(docs.glob("*.md")), *sorted((docs / "endpoints").glob("*.md"))]
    return [ROOT / "README.md", *found]


def rendered(text: str) -> str:
    """`text` with its parts made anew. Raises KeyError for a part that nobody makes."""
    return PART.sub(lambda m: m[1] + "\n" + PARTS[m["name"]]() + "\n" + m[4], text)


def main() -> None:
    """Write every page that is not current."""
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = rendered(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"wrote {page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
