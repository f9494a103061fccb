"""The Claude Code program with an environment of a few settings and a home of its own: one shot.

Its own prompt is 43,000 tokens long, nearly all of it tools. The shipped model reads that in about
a minute on two idle cores, and answers it in words of its own: what is tested is that every request
of the program is understood, and that it ends without an error. The settings are those that its
documentation has for slow and small models: no thinking, and patience with the first word: it gives
up a stream after five minutes without an event that is no ping.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.packages import CLAUDE_CODE, from_npm, node_tool

MINUTES = 40  # for the whole prompt on cores that others use

pytestmark = [pytest.mark.slow, pytest.mark.timeout((MINUTES + 10) * 60)]


def one_shot(url: str, folder: Path, *options: str) -> dict[str, Any]:
    """What the program says at its end, of one prompt that is no conversation."""
    program = from_npm("claude-code", CLAUDE_CODE) / "node_modules" / ".bin" / "claude"
    work = folder / "work"
    work.mkdir()
    command = [str(program), "-p", "Say hello.", "--output-format", "json", "--model", "haiku"]
    done = subprocess.run(
        [*command, *options],
        cwd=work,
        env={
            "PATH": f"{node_tool('node').parent}{os.pathsep}{os.defpath}",
            "HOME": str(folder),
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "any",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "MAX_THINKING_TOKENS": "0",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "8000",  # to be cut off is an error to it
            "API_TIMEOUT_MS": str(MINUTES * 60_000),
            "CLAUDE_STREAM_IDLE_TIMEOUT_MS": str(MINUTES * 60_000),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=MINUTES * 60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["subtype"], told["is_error"]) == ("success", False), told
    return told


@pytest.mark.parametrize(
    ("options", "least"),
    [
        (["--system-prompt", "You are a friendly assistant.", "--tools", ""], 20),
        ([], 30_000),
    ],
    ids=["a short prompt", "its own prompt"],
)
def test_one_shot_ends_without_an_error(
    url: str, tmp_path: Path, options: list[str], least: int
) -> None:
    used = one_shot(url, tmp_path, *options)["usage"]
    read = used["input_tokens"] + used["cache_read_input_tokens"]
    assert read + used["cache_creation_input_tokens"] >= least
    assert used["output_tokens"] > 0
