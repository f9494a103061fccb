"""The documentation says what is: generated parts are current, and what it shows runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from docs import fields
from docs.generate import PART, PARTS, ROOT, commands, error_classes, pages, rendered
from renga.config import ENVIRONMENT, TIER_NAMES, load_config, settings
from tests.conftest import StartServer, scripted

PAGES = pages()
LINKS = re.compile(r"\[[^\]]*\]\((?!https?:)(?P<target>[^)#]+)(?:#[^)]*)?\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# Two pages send every field to servers with models.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path):
    text = page.read_text(encoding="utf-8")
    assert rendered(text) == text, "run `make docs`"


def test_a_part_that_was_edited_by_hand_is_seen():
    text = read("docs/configuration.md")
    assert rendered(text.replace("8787", "8788", 1)) == text


def test_every_part_that_can_be_made_stands_somewhere():
    found = [m["name"] for page in PAGES for m in PART.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(PARTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path):
    targets = [m["target"] for m in LINKS.finditer(page.read_text(encoding="utf-8"))]
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert missing == []


def test_every_command_is_documented_with_a_sentence():
    text = read("docs/cli.md")
    found = dict(commands())
    assert {"renga serve", "renga keys create", "renga ledger totals"} <= found.keys()
    for name, shown in found.items():
        assert f"\n## {name}\n" in text
        assert len(shown.split("\n\n")[1].split()) >= 3, f"{name} has no help"


def test_every_setting_is_documented():
    text = read("docs/configuration.md")
    for section, key, _, about in settings():
        assert f"**[{section}]**" in text
        assert f"| `{key}` |" in text
        assert about
    assert [name for name in ENVIRONMENT if f"`{name}`" not in text] == []


def test_every_error_is_documented():
    text = read("docs/errors.md")
    assert [
        c.__name__ for c in error_classes() if f"`{c.__name__}` | {c.status} |" not in text
    ] == []


def test_the_example_configuration_is_accepted():
    config = load_config(ROOT / "renga.toml.example", env={})
    assert set(config.tiers) < set(TIER_NAMES)
    assert set(config.backends) == {"small", "echo"}


def test_the_changelog_begins_with_the_version_of_the_package():
    top = re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M)
    declared = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert top is not None
    assert (top[1], version("renga")) == (declared, declared)


def test_the_code_of_the_readme_runs(start_server: StartServer):
    served = start_server(scripted())
    blocks = re.findall(r"```python\n(.*?)```", read("README.md"), re.S)
    assert len(blocks) == 1
    done = subprocess.run(
        [sys.executable, "-c", blocks[0]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANTHROPIC_BASE_URL": served.url, "ANTHROPIC_API_KEY": "any"},
    )
    assert (done.stdout, done.stderr) == ("Hello! Where is my order?\n", "")


def test_the_code_of_the_openai_page_runs(start_server: StartServer):
    served = start_server(scripted())
    (code,) = re.findall(r"```python\n(.*?)```", read("docs/openai.md"), re.S)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8787", served.url)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Where is my order?\n", "")


def test_every_field_of_the_official_packages_was_sent():
    assert {path: names for path, names in fields.unsent().items() if names} == {}


def test_the_commands_of_the_readme_exist():
    makefile = read("Makefile")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", read("README.md"), re.M)) - {"alone"}
    assert {"demo", "serve", "check", "test"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.M)] == []


def test_locks_hold_hashes_and_name_no_index_and_no_torch():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = read(name)
        packages = re.findall(r"^([a-z0-9][\w.-]*)==", text, re.M)
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "torch" not in packages
        assert "pydantic" in packages
