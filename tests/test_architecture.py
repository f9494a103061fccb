"""The rules that hold the source together, read from the source itself.

Owns the list of layers and the tables of who may import what. Each rule is a function from parsed
modules to complaints, so that the last tests can plant a breach and see the rule speak.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "renga"

# Top to bottom. A module imports from layers below its own and from its own package.
LAYERS: list[list[str]] = [
    ["renga.cli", "renga.client"],
    ["renga.bench", "renga.bulk"],
    ["renga.http"],
    ["renga.app"],
    ["renga.batches"],
    ["renga.gateway"],
    ["renga.layers"],
    ["renga.thinking"],
    ["renga.auto"],
    ["renga.routing"],
    ["renga.tries"],
    ["renga.loading"],
    ["renga.media.transcribing"],
    ["renga.backends"],
    ["renga.media"],
    ["renga.llamacpp"],
    ["renga.engine"],
    ["renga.chat"],
    ["renga.models"],
    ["renga.limits", "renga.workspaces"],
    ["renga.keys", "renga.ledger", "renga.files", "renga.retention"],
    ["renga.watching"],
    ["renga.costs"],
    ["renga.caller", "renga.store"],
    ["renga.watching.traces"],
    ["renga.prices", "renga.ids"],
    ["renga.engine.messages"],
    ["renga.config", "renga.machine"],
    ["renga.events"],
    ["renga.diagnostics", "renga.conversation"],
    ["renga.caching"],
    ["renga.reading", "renga.citations"],
    ["renga.sources"],
    ["renga.toolkit"],
    ["renga.errors"],
    ["renga.types", "renga.schemas"],
    ["renga"],
]

# What -> who alone may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "openvino": (
        "renga.engine.model",
        "renga.engine.graph",
        "renga.engine.vision",
        "renga.bench.machine",
        "renga.bench.peers.genai",
    ),
    "openvino_genai": ("renga.bench.peers.genai", "renga.engine.vision"),
    "xllamacpp": ("renga.bench.peers.llamacpp", "renga.llamacpp.process"),
    "PIL": ("renga.media.rendering", "renga.media.recognition"),
    "pypdfium2": ("renga.media.rendering",),
    "rapidocr": ("renga.media.recognition",),
    "matplotlib": ("renga.bench.plot", "renga.costs.files"),
    "prometheus_client": ("renga.watching",),
    "opentelemetry": ("renga.watching",),
    "psycopg": ("renga.store",),
    "python_multipart": ("renga.http.multipart",),
    "sqlalchemy": ("renga.store", "renga.ledger", "renga.keys"),
    "alembic": ("renga.store",),
    "sqlite3": ("renga.store",),
    "llguidance": ("renga.engine", "renga.llamacpp", "renga.chat"),
    "tokenizers": ("renga.engine", "renga.chat", "renga.models"),
    "jinja2": ("renga.chat",),
    "aiohttp": (
        "renga.llamacpp.server",
        "renga.models.hub",
        "renga.media.fetching",
        "renga.backends.remote",
        "renga.bulk.elsewhere",
    ),
    "starlette": ("renga.http", "renga.bench.servers"),
    "uvicorn": ("renga.http", "renga.bench.servers"),
    "typer": ("renga.cli",),
    "rich": ("renga.cli",),
    "torch": (),
    "transformers": (),
    "anthropic": ("renga.client",),
    "renga.backends": ("renga.backends", "renga.app"),
    # The protocol alone: `renga.http.health` asks each backend how it is, and both say it.
    "renga.backends.base": (
        "renga.backends",
        "renga.media.transcribing",
        "renga.loading",
        "renga.routing",
        "renga.tries",
        "renga.gateway",
        "renga.app",
        "renga.http.health",
        "renga.http.loading",
    ),
    "renga.engine": ("renga.engine", "renga.backends.local", "renga.bench"),
    # The engine's words, and what of its rules is pure: another engine speaks and keeps them.
    "renga.engine.cache": ("renga.engine", "renga.llamacpp"),
    "renga.engine.text": ("renga.engine", "renga.backends.local", "renga.llamacpp"),
    "renga.engine.client": ("renga.engine", "renga.backends", "renga.llamacpp", "renga.bench"),
    "renga.llamacpp.memory": ("renga.llamacpp", "renga.backends.llamacpp", "renga.cli.planned"),
    "renga.llamacpp": ("renga.llamacpp", "renga.backends.llamacpp"),
    # Told from files alone: what starts nothing says which window a model would have.
    "renga.engine.memory": (
        "renga.engine",
        "renga.backends.local",
        "renga.backends.llamacpp",
        "renga.cli.doctor",
        "renga.cli.planned",
    ),
}

# Modules that may import inside functions, and why.
HIDDEN_IN: dict[str, str] = {
    "renga.store.database": "Alembic is slow to load and only a change of schema needs it",
    "renga.http.server": "uvloop is not made for every platform",
    "renga.bench": "peers and plots are optional",
    "renga.bulk.files": "Parquet is an extra's",
    "renga.llamacpp.process": "the library is an extra's",
    "renga.media.rendering": "images are decoded by an extra",
    "renga.media.recognition": "letters are recognized by an extra",
    "renga.costs.files": "files of reports are made by extras",
    "renga.watching.watch": "traces are sent by an extra",
    "renga.cli": "a command loads only what it needs, so that `renga --help` is instant",
}

# Words of another API: they stay in the files that translate it.
FOREIGN_WORDS = ("finish_reason", "completion_tokens", "chat.completion", "logit_bias", "[DONE]")
FOREIGN_IN = (
    "renga.engine.vision",
    "renga.http.openai",
    "renga.backends.openai",
    "renga.bench.peers.completions",
    "renga.bench.upstream",
    "renga.watching.watch",  # OpenTelemetry has taken one of them for an attribute
)

BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "handler", "common", "misc"}
MOST_LINES = 600
MOST_FUNCTION_LINES = 40

# Run as scripts: their statements are what they are for.
SCRIPTS = ("renga.store.migrations.env",)

# Statements at module level that have an effect, each with its reason beside it in the source.
EFFECTS = {"renga.engine": "sys.modules.setdefault('openvino_telemetry', None)"}

HEAVY = (
    "aiohttp anthropic llguidance numpy openvino rich sqlalchemy starlette tokenizers torch "
    "transformers typer uvicorn"
).split()


@dataclass(frozen=True)
class Module:
    """One parsed file. `package` says whether it is an `__init__`."""

    name: str
    text: str
    tree: ast.Module
    package: bool = False

    @classmethod
    def of(cls, name: str, text: str, *, package: bool = False) -> Module:
        return cls(name, text, ast.parse(text), package)


@dataclass(frozen=True)
class Import:
    """`target` is as precise as the source tells; `hidden` is inside a function."""

    target: str
    line: int
    hidden: bool


Modules = Mapping[str, Module]
Rule = Callable[[Modules], list[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def read_modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("renga", *path.relative_to(SOURCE).with_suffix("").parts)
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        found[name] = Module.of(name, path.read_text(encoding="utf-8"), package=package)
    return found


MODULES = read_modules()


def within(name: str, prefix: str) -> bool:
    """Whether `name` is `prefix` or lies inside it."""
    return name == prefix or name.startswith(prefix + ".")


def imports_of(module: Module, known: Modules) -> Iterator[Import]:
    """Every import of `module`: relative ones resolved, those inside functions included."""
    hidden = {
        id(inner)
        for outer in ast.walk(module.tree)
        if isinstance(outer, Function)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in hidden)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(name if name in known else base, node.lineno, id(node) in hidden)


def _base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if module.package else 0)]
    return ".".join([*parts, node.module] if node.module else parts)


def layer_of(name: str) -> tuple[int, str]:
    """(position from the top, the entry of LAYERS) of the longest entry that `name` is within."""
    entries = [(i, e) for i, layer in enumerate(LAYERS) for e in layer if within(name, e)]
    return max(entries, key=lambda found: len(found[1]))


# --- the rules ------------------------------------------------------------------------------------


def imports_point_down(modules: Modules) -> list[str]:
    wrong = []
    for module in modules.values():
        level, entry = layer_of(module.name)
        for found in imports_of(module, modules):
            if not within(found.target, "renga"):
                continue
            target_level, target_entry = layer_of(found.target)
            if target_entry != entry and target_level <= level:
                wrong.append(f"{module.name}:{found.line} imports {found.target}, not below it")
    return wrong


def no_cycles(modules: Modules) -> list[str]:
    graph = {
        m.name: {i.target for i in imports_of(m, modules) if i.target in modules} - {m.name}
        for m in modules.values()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["cycle: " + " -> ".join(error.args[1])]
    return []


def only_the_named_import(modules: Modules) -> list[str]:
    wrong = []
    for module in modules.values():
        for found in imports_of(module, modules):
            matching = [t for t in ONLY_IN if within(found.target, t)]
            if found.target in ("renga.engine.messages",) or not matching:
                continue
            allowed = ONLY_IN[max(matching, key=len)]
            if not any(within(module.name, a) for a in allowed):
                wrong.append(f"{module.name}:{found.line} imports {found.target}")
    return wrong


def imports_are_not_hidden(modules: Modules) -> list[str]:
    return [
        f"{m.name}:{i.line} imports {i.target} inside a function"
        for m in modules.values()
        for i in imports_of(m, modules)
        if i.hidden and not any(within(m.name, allowed) for allowed in HIDDEN_IN)
    ]


def only_config_reads_the_environment(modules: Modules) -> list[str]:
    names = ("os.environ", "os.getenv", "os.environb", "os.putenv")
    return [
        f"{m.name}:{node.lineno} {ast.unparse(node)}"
        for m in modules.values()
        if m.name != "renga.config.reading"
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in names
    ]


def foreign_words_stay_out(modules: Modules) -> list[str]:
    return [
        f"{m.name}: {word}"
        for m in modules.values()
        if not any(m.name.startswith(allowed) for allowed in FOREIGN_IN)
        for word in FOREIGN_WORDS
        if word in m.text
    ]


def every_module_says_what_it_is(modules: Modules) -> list[str]:
    return [m.name for m in modules.values() if not ast.get_docstring(m.tree)]


def names_are_nouns_of_the_domain(modules: Modules) -> list[str]:
    return [m.name for m in modules.values() if BANNED_NAMES & set(re.split(r"[._]", m.name))]


def files_are_short(modules: Modules) -> list[str]:
    sizes = {m.name: m.text.count("\n") for m in modules.values()}
    return [f"{name}: {lines} lines" for name, lines in sizes.items() if lines > MOST_LINES]


def functions_are_short(modules: Modules) -> list[str]:
    sizes = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for m in modules.values()
        for node in ast.walk(m.tree)
        if isinstance(node, Function)
    )
    if not sizes:
        return []
    ninetieth = sizes[min(len(sizes) - 1, len(sizes) * 9 // 10)]
    return [f"90th percentile: {ninetieth} lines"] if ninetieth > MOST_FUNCTION_LINES else []


# Calls whose result nobody can change: such a value is no state.
CONSTANT = (
    "Decoder Encoder MappingProxyType MetaData NewType Table TypeAdapter TypeVar "
    "compile frozenset getLogger namedtuple tuple"
).split()
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.Call)


def _called(call: ast.Call) -> str:
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    return ast.unparse(function).rpartition(".")[2]


def modules_hold_no_state(modules: Modules) -> list[str]:
    """A mutable value at module level is an UPPERCASE table, or a type; nobody says `global`."""
    wrong = []
    for module in modules.values():
        if module.name in SCRIPTS:
            continue
        wrong += [
            f"{module.name}:{node.lineno} global {', '.join(node.names)}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Global)
        ]
        for statement in module.tree.body:
            if not isinstance(statement, ast.Assign | ast.AnnAssign):
                continue
            value = statement.value
            if not isinstance(value, MUTABLE) or (
                isinstance(value, ast.Call) and _called(value) in CONSTANT
            ):
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                name = ast.unparse(target).strip("_")
                if name[:1].islower() and name != "all":
                    wrong.append(f"{module.name}:{statement.lineno} {name}")
    return wrong


PASSIVE = (
    ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    | ast.Assign | ast.AnnAssign
)  # fmt: skip


def imports_have_no_effects(modules: Modules) -> list[str]:
    """At module level: imports, definitions, assignments, and conditions over those."""
    return [
        f"{m.name}:{statement.lineno} {ast.unparse(statement)[:60]}"
        for m in modules.values()
        if m.name not in SCRIPTS
        for statement in m.tree.body
        if not isinstance(statement, PASSIVE)
        and ast.unparse(statement) != EFFECTS.get(m.name)
        and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        and not (
            isinstance(statement, ast.If)
            and ast.unparse(statement.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        )
    ]


RULES: list[Rule] = [
    imports_point_down,
    no_cycles,
    only_the_named_import,
    imports_are_not_hidden,
    only_config_reads_the_environment,
    foreign_words_stay_out,
    every_module_says_what_it_is,
    names_are_nouns_of_the_domain,
    files_are_short,
    functions_are_short,
    modules_hold_no_state,
    imports_have_no_effects,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule):
    assert rule(MODULES) == []


LONG_FUNCTION = '"""Doc."""\ndef f():\n' + "    x = 1\n" * MOST_FUNCTION_LINES

BREACHES: list[tuple[Rule, str, str]] = [
    (imports_point_down, "renga.errors", "def f():\n    from renga.gateway import Gateway"),
    (imports_point_down, "renga.engine.blocks", "import renga.http"),
    (imports_point_down, "renga.backends.local", "from .. import cli"),
    (no_cycles, "renga.types", "from renga.events import Event"),
    (only_the_named_import, "renga.engine.sampler", "import openvino as ov"),
    (only_the_named_import, "renga.http.pages", "from renga.backends.scripted import Reply"),
    (only_the_named_import, "renga.gateway", "from sqlalchemy import text"),
    (only_the_named_import, "renga.engine.process", "import torch.nn"),
    (imports_are_not_hidden, "renga.http.pages", "def f():\n    import json"),
    (only_config_reads_the_environment, "renga.app", "import os\nx = os.environ['HOME']"),
    (foreign_words_stay_out, "renga.http.messages", "x = 'finish_reason'"),
    (every_module_says_what_it_is, "renga.ids", "x = 1"),
    (names_are_nouns_of_the_domain, "renga.http.utils", ""),
    (files_are_short, "renga.ids", "x = 1\n" * (MOST_LINES + 1)),
    (functions_are_short, "renga.ids", LONG_FUNCTION),
    (modules_hold_no_state, "renga.ids", "_cache: dict[str, int] = {}"),
    (modules_hold_no_state, "renga.ids", "def f():\n    global x\n    x = 1"),
    (modules_hold_no_state, "renga.ids", "client = connect()"),
    (imports_have_no_effects, "renga.ids", "register('ids')"),
    (imports_have_no_effects, "renga.ids", "for x in (1, 2):\n    y = x"),
]


@pytest.mark.parametrize(("rule", "name", "text"), BREACHES)
def test_a_planted_breach_is_seen(rule: Rule, name: str, text: str):
    stubs = {n: Module.of(n, "", package=m.package) for n, m in MODULES.items()}
    stubs["renga.events"] = Module.of("renga.events", "from renga.types import Message")
    planted = Module.of(name, text)
    modules = {name: planted} if rule is functions_are_short else {**stubs, name: planted}
    assert any(name in complaint or "lines" in complaint for complaint in rule(modules))


def test_every_module_has_a_layer_of_its_own():
    bare = [name for name in MODULES if name != "renga" and layer_of(name)[1] == "renga"]
    assert bare == [], "add these to LAYERS"


# --- what only running shows ----------------------------------------------------------------------


def _loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("name", ["renga.types", "renga.events", "renga.config", "renga.errors"])
def test_the_vocabulary_loads_no_heavy_library(name):
    assert _loaded_after(f"import {name}").isdisjoint(HEAVY)


def test_the_command_line_loads_neither_engine_nor_server_before_it_needs_them():
    heavy = set(HEAVY) - {"typer", "rich"}
    assert _loaded_after("import renga.cli").isdisjoint(heavy)


WATCH = """
import sys
seen = []
def hook(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event.startswith(("socket.connect", "subprocess.Popen", "os.mkdir", "os.remove")):
        seen.append((event, args[0]))
sys.dont_write_bytecode = True
sys.addaudithook(hook)
for name in sys.argv[1:]:
    __import__(name)
print(seen)
"""


def test_importing_every_module_touches_neither_network_nor_disk():
    names = [name for name in MODULES if name not in SCRIPTS]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *names], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_tests_pass_values_instead_of_patching_ours():
    patched = re.compile(r"monkeypatch\.setattr|unittest\.mock|mocker\.")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if patched.search(line)
    ]
    assert wrong == []
