"""`renga ask`, in process and against a server, and what it leaves in the ledger."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import RunRenga, StartServer, scripted, write_config

ECHO = scripted()


def test_the_answer_is_all_that_stdout_gets(renga: RunRenga):
    done = renga("ask", "Hello there", config=ECHO)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello there\n", "")


def test_files_then_pipe_then_question_make_the_prompt(renga: RunRenga, tmp_path: Path):
    (tmp_path / "a.txt").write_text("first file")
    (tmp_path / "b.txt").write_text("second file")
    done = renga("ask", "why?", "-f", "a.txt", "-f", "b.txt", input="from a pipe", config=ECHO)
    assert done.stdout == "first file\n\nsecond file\n\nfrom a pipe\n\nwhy?\n"


def test_a_pipe_alone_is_the_question(renga: RunRenga):
    assert renga("ask", input="only this", config=ECHO).stdout == "only this\n"


def test_max_tokens_cuts(renga: RunRenga):
    assert renga("ask", "abcdefghijkl", "--max-tokens", "2", config=ECHO).stdout == "abcdefgh\n"


def test_every_answer_stands_in_the_ledger(renga: RunRenga):
    renga("ask", "abcdefgh", config=ECHO)
    renga("ask", "abcdefgh", "--tier", "opus", config=ECHO)
    rows = [line.split() for line in renga("ledger", "totals", config=ECHO).stdout.splitlines()]
    # Two tokens in at $1 and two out at $5 per million; opus is served, and charged, as haiku.
    assert rows[1] == ["haiku", "1", "2", *"0000", "2", "0", "0.000012", "0"]
    assert rows[2] == ["opus", "1", "2", *"0000", "2", "0", "0.000012", "0"]


def test_the_prices_of_the_configuration_are_charged(renga: RunRenga):
    config = f"{ECHO}\n[prices.haiku]\ninput = 0.5\noutput = 7"
    renga("ask", "abcdefgh", config=config)
    rows = [line.split() for line in renga("ledger", "totals", config=config).stdout.splitlines()]
    assert rows[1] == ["haiku", "1", "2", *"0000", "2", "0", "0.000015", "0"]


def test_looking_at_the_ledger_writes_no_row(renga: RunRenga, tmp_path: Path):
    renga("ask", "abcdefgh", config=ECHO)
    with closing(sqlite3.connect(tmp_path / "home" / "renga.db")) as database:
        before = "\n".join(database.iterdump())
        name = database.execute("SELECT request_id FROM answers").fetchone()[0]
        assert renga("ledger", "totals", config=ECHO).returncode == 0
        assert json.loads(renga("ledger", "show", name, config=ECHO).stdout)["status"] == "ok"
        assert "\n".join(database.iterdump()) == before


def test_totals_by_day_and_workspace(renga: RunRenga):
    renga("ask", "abcdefgh", config=ECHO)
    by_day = renga("ledger", "totals", "--by", "day", config=ECHO).stdout.splitlines()
    by_workspace = renga("ledger", "totals", "--by", "workspace", config=ECHO).stdout.splitlines()
    assert by_day[1].split()[1:3] == ["1", "2"]
    assert by_workspace[1].split()[0] == "default"


def test_against_a_server_gives_the_same_answer(renga: RunRenga, start_server: StartServer):
    server = start_server(ECHO)
    done = renga("ask", "Hëllo 東京", "--against", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hëllo 東京\n", "")


def test_against_a_server_its_errors_are_one_line(renga: RunRenga, start_server: StartServer):
    server = start_server(scripted(fault="error", reply="some words", fail_after=1))
    done = renga("ask", "hi", "--against", server.url)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("renga: ")


def test_a_schema_that_the_backend_cannot_honour_is_refused(renga: RunRenga, tmp_path: Path):
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object"}))
    done = renga("ask", "hi", "--json", "schema.json", config=ECHO)
    assert done.returncode == 2
    assert "output_config.format" in done.stderr


def begin_to_ask(tmp_path: Path) -> subprocess.Popen[str]:
    """A slow answer whose first words have been read."""
    path = write_config(tmp_path, scripted(reply="word " * 400, token_delay_ms=20))
    asking = subprocess.Popen(
        [sys.executable, "-m", "renga.cli", "ask", "hi", "--config", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Who starts the tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert asking.stdout is not None
    assert asking.stdout.read(10) == "word word "
    return asking


def row() -> tuple[str, int]:
    """Status and output tokens of the only answer in the ledger, read without our code."""
    with closing(sqlite3.connect(Path(os.environ["RENGA_HOME"]) / "renga.db")) as database:
        (found,) = database.execute("SELECT status, output_tokens FROM answers").fetchall()
    status, output = found
    return status, output


def test_ctrl_c_ends_it_without_a_trace_and_is_charged_what_was_made(tmp_path: Path):
    asking = begin_to_ask(tmp_path)
    asking.send_signal(signal.SIGINT)
    _, errors = asking.communicate(timeout=20)
    assert (asking.returncode, errors) == (130, "")
    status, output = row()
    assert status == "cancelled"
    assert 2 <= output < 400


def test_a_reader_that_leaves_ends_it_without_a_trace(tmp_path: Path):
    asking = begin_to_ask(tmp_path)
    assert asking.stdout is not None
    assert asking.stderr is not None
    asking.stdout.close()
    errors = asking.stderr.read()
    asking.stderr.close()
    assert (asking.wait(20), errors) == (141, "")
    assert row()[0] == "cancelled"


def test_old_answers_are_removed_and_totals_still_count_them(renga: RunRenga, tmp_path: Path):
    assert renga("ask", "hello there", config=ECHO).returncode == 0
    before = renga("ledger", "totals", config=ECHO).stdout
    # As if it had been asked a year ago: nobody can wait that long.
    with closing(sqlite3.connect(tmp_path / "home" / "renga.db")) as database:
        database.execute("UPDATE answers SET received_us = received_us - 31536000000000")
        database.commit()
    today = datetime.now(UTC).date().isoformat()
    asked = renga("ledger", "purge", "--before", today, "--dry-run", config=ECHO)
    assert asked.stdout.startswith("1 answers of ")
    assert "would be removed; they cost $" in asked.stdout
    assert renga("ledger", "purge", "--before", today, config=ECHO).stdout == (
        "1 answers were removed\n"
    )
    assert renga("ledger", "totals", config=ECHO).stdout == before
    assert renga("ledger", "purge", "--before", today, config=ECHO).stdout == (
        "nothing is that old\n"
    )


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2999-01-01"])
def test_a_day_that_is_none_removes_nothing(renga: RunRenga, day: str):
    done = renga("ledger", "purge", "--before", day, config=ECHO)
    assert done.returncode == 2
    assert f"--before {day!r}" in done.stderr
    assert "accepted: " in done.stderr
    assert "Traceback" not in done.stderr
