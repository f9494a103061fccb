"""`renga chat` at a terminal of its own, where ctrl-c is a key and not an end."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunRenga, scripted, write_config

# Makes the terminal on stdin the controlling one, so that ctrl-c in it is a signal.
UNDER_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "renga.cli", *sys.argv[1:]])
"""


class Terminal:
    """The person's side of a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self._own, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", UNDER_TERMINAL, *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb"},
            # Who starts the tests in the background may have it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def expect(self, pattern: str, seconds: float = 20) -> str:
        """Read until `pattern`; what came before and with it."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._own], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{pattern!r} did not come; seen: {self.seen!r}"
            self.seen += os.read(self._own, 65_536).decode(errors="replace")
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def interrupt(self, pattern: str) -> None:
        """Press ctrl-c until `pattern` comes.

        One that comes just when the prompt is shown and before Python waits for a line is seen
        with that line only; a person would press it again.
        """
        for _ in range(10):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.expect(pattern, seconds=3)
                return
        raise AssertionError(f"{pattern!r} did not come; seen: {self.seen!r}")

    def close(self) -> int:
        code = self._process.wait(20)
        os.close(self._own)
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.close()


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[object]:
    opened: list[Terminal] = []

    def open_chat(config: str, *args: str) -> Terminal:
        path = write_config(tmp_path, config)
        opened.append(Terminal("chat", "--config", str(path), *args))
        return opened[-1]

    yield open_chat
    for terminal in opened:
        terminal.kill()


def test_it_answers_and_tells_quietly_what_it_took(chat):
    terminal = chat(scripted())
    terminal.expect("> ")
    terminal.type("Hello friend\n")
    terminal.expect("Hello friend\r\n")  # what was typed
    assert "Hello friend" in terminal.expect(r"renga-haiku-1 .* tokens .*\$0\.0000\d+")
    terminal.expect("> ")
    terminal.type("/quit\n")
    assert terminal.close() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(chat):
    terminal = chat(scripted(reply="one two three four five " * 200, token_delay_ms=20))
    terminal.expect("> ")
    terminal.type("count\n")
    terminal.expect("one two three")
    terminal.type("\x03")
    terminal.expect("stopped")
    terminal.expect("> ")
    terminal.interrupt("/quit ends")
    terminal.expect("> ")
    terminal.type("/quit\n")
    assert terminal.close() == 0


def test_end_of_input_ends_it(chat):
    terminal = chat(scripted())
    terminal.expect("> ")
    terminal.type("\x04")
    assert terminal.close() == 0


def test_commands_work_from_a_pipe_too(renga: RunRenga):
    done = renga("chat", input="one\n/clear\n/system be brief\n/what\ntwo\n", config=scripted())
    assert done.returncode == 0
    assert done.stdout == "one\ntwo\n"
    assert "there is no /what" in done.stderr


def test_a_turn_that_failed_is_forgotten_and_the_talk_goes_on(renga: RunRenga):
    done = renga("chat", input="one\ntwo\n", config=scripted(fault="overloaded"))
    assert done.returncode == 0
    assert done.stderr.count("overload") == 2


def test_a_server_that_went_away_does_not_end_the_talk(renga: RunRenga):
    done = renga("chat", "--against", "http://127.0.0.1:9", input="one\ntwo\n")
    assert done.returncode == 0
    assert done.stderr.count("cannot reach 127.0.0.1:9") == 2
    assert "Traceback" not in done.stderr
