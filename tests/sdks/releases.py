"""Releases of the official SDK, each installed once into a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# The oldest and newest that are promised, and the last that spoke the older API version.
RELEASES = ("0.125.0", "1.17.0", "2.12.0")
CACHE = Path(__file__).parents[2] / ".cache" / "sdks"
SCRIPT = Path(__file__).with_name("use_sdk.py")


def installed(release: str) -> Path:
    """The folder of `release`, installed there if it is not yet."""
    folder = CACHE / release
    if (folder / "anthropic" / "_version.py").exists():
        return folder
    begun = CACHE / f"{release}.{os.getpid()}.part"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts"]
    command += ["--disable-pip-version-check", "--target", str(begun), f"anthropic=={release}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"anthropic {release} cannot be installed: {done.stderr[-2000:]}")
    shutil.rmtree(folder, ignore_errors=True)
    begun.rename(folder)
    return folder


def use(release: str, url: str, version: str, script: Path = SCRIPT) -> dict[str, Any]:
    """What `script` found with `release` against the server at `url`."""
    done = subprocess.run(
        [sys.executable, str(script), url, version],
        env={**os.environ, "PYTHONPATH": str(installed(release))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
