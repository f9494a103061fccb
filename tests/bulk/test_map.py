"""`renga map` as a person runs it: here, against a server, and wrongly."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.serving import serving

pytestmark = pytest.mark.timeout(300)

CONFIG = """
[backends.s]
kind = "scripted"
[tiers.haiku]
backends = ["s"]
"""
SCHEMA = """{"type": "object", "properties": {
    "topic": {"type": "string", "enum": ["delivery", "damage", "praise"]}, "n": {"type": "integer"}
}}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "renga.toml").write_text(CONFIG)
    rows = "".join(f"{n},text {n}\n" for n in range(50))
    (tmp_path / "in.csv").write_text("id,text\n" + rows)
    return tmp_path


def renga(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "renga.cli", "map", *args]
    env = {**os.environ, "RENGA_HOME": str(folder / "home")}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one line and hint of a refusal."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_table_is_answered_beside_its_columns(folder):
    done = renga(folder, "in.csv", "-o", "out.csv", "-p", "Say: {text}")
    assert done.returncode == 0, done.stderr
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["output"] for row in rows] == [f"Say: text {n}" for n in range(50)]
    assert "50 rows" in done.stderr
    assert "$0.0" in done.stderr
    again = renga(folder, "in.csv", "-o", "out.csv", "-p", "Say: {text}")
    assert "--overwrite" in told(again)
    assert renga(folder, "in.csv", "-o", "out.csv", "-p", "{id}", "--overwrite").returncode == 0
    assert (folder / "out.csv").read_text().splitlines()[1] == "0,text 0,0"


def test_a_schema_makes_typed_columns_that_the_shipped_model_fills(folder):
    (folder / "renga.toml").unlink()  # what serves then is the shipped haiku
    texts = ["The parcel 48213 is late.", "Two of 3 lamps are broken.", "Thank you!"]
    parquet.write_table(pa.table({"text": texts}), folder / "in.parquet")
    (folder / "schema.json").write_text(SCHEMA)
    args = ("in.parquet", "-o", "out.parquet", "-p", "Classify: {text}", "--schema", "schema.json")
    done = renga(folder, *args)
    assert done.returncode == 0, done.stderr
    found = parquet.read_table(folder / "out.parquet")
    assert found.schema.names == ["text", "topic", "n"]
    assert found.schema.field("n").type == pa.int64()
    errors = folder / "out.parquet.errors"
    failed = errors.read_text().count("\n") if errors.exists() else 0
    assert found.num_rows + failed == 3
    assert set(found.column("topic").to_pylist()) <= {"delivery", "damage", "praise"}


def test_a_run_that_was_ended_goes_on_where_it_stopped(folder):
    rows = "".join(f"{n},text {n}\n" for n in range(600))
    (folder / "in.csv").write_text("id,text\n" + rows)
    slow = CONFIG.replace('"scripted"', '"scripted"\nfirst_delay_ms = 10')
    (folder / "renga.toml").write_text(slow)
    args = ["in.csv", "-o", "out.jsonl", "-p", "{text}", "--concurrency", "2"]
    command = [sys.executable, "-m", "renga.cli", "map", *args]
    env = {**os.environ, "RENGA_HOME": str(folder / "home")}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if "%" in process.stderr.readline():
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert not (folder / "out.jsonl").exists()
    other = renga(folder, "in.csv", "-o", "out.jsonl", "-p", "{id}")
    assert "unfinished job" in told(other)
    done = renga(folder, *args)
    assert done.returncode == 0, done.stderr
    asked = int(done.stderr.partition("600 rows · ")[2].partition(" asked now")[0])
    assert 0 < asked < 600
    written = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == [str(n) for n in range(600)]


def test_a_server_is_asked_as_well(folder, tmp_path_factory):
    with serving(folder, CONFIG, home=tmp_path_factory.mktemp("server")) as served:
        args = ("in.csv", "-o", "out.csv", "-p", "Say: {text}", "--against", served.url)
        done = renga(folder, *args)
        assert done.returncode == 0, done.stderr
        lines = (folder / "out.csv").read_text().splitlines()
        assert lines[-1] == "49,text 49,Say: text 49"
        wrong = renga(folder, *args, "--overwrite", "--tier", "nothing")
        assert "model: nothing" in told(wrong)


@pytest.mark.parametrize("mode", [(), ("--dry-run",)])
def test_a_server_that_is_not_there_is_told_at_once(folder, mode):
    with closing(socket.socket()) as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        args = ("in.csv", "-o", "out.csv", "-p", "Say: {text}", *mode, "--against")
        assert "cannot reach" in told(renga(folder, *args, f"http://127.0.0.1:{port}"))
        assert "not a server's address" in told(renga(folder, *args, f"localhost:{port}"))


def test_a_dry_run_asks_a_sample_and_writes_nothing(folder):
    done = renga(folder, "in.csv", "-o", "out.csv", "-p", "Say: {text}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "50 rows; 10 of them were asked" in done.stdout
    assert "about $" in done.stdout
    assert not (folder / "out.csv").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("in.csv", "-o", "out.csv", "-p", "{txt}"), "did you mean {text}?"),
        (("in.csv", "-o", "out.csv", "-p", "hello"), "names no column"),
        (("in.csv", "-o", "out.csv", "-p", "{text"), "character 1"),
        (("in.csv", "-o", "out.csv", "-p", "@nowhere.txt"), "cannot read nowhere.txt"),
        (("in.csv", "-o", "out.xlsx", "-p", "{text}"), "unknown kind"),
        (("in.csv", "-o", "in.csv", "-p", "{text}"), "one file"),
        (("in.csv", "-o", "no/out.csv", "-p", "{text}"), "no folder"),
        (("none.csv", "-o", "out.csv", "-p", "{text}"), "No such file"),
        (("in.csv", "-o", "out.csv", "-p", "{text}", "--column", "id"), "has a column 'id'"),
        (("in.csv", "-o", "out.csv", "-p", "{text}", "--schema", "{"), "not JSON"),
        (("in.csv", "-o", "out.csv", "-p", "{text}", "--schema", "{}"), "no object"),
        (("in.csv", "-o", "out.csv", "-p", "{text}", "--tier", "gpt-5"), "model: gpt-5"),
        (("in.csv", "-o", "out.csv", "-p", "{text}", "--delimiter", "ab"), "one character"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_before_a_row_is_asked(folder, args, words):
    said = told(renga(folder, *args))
    assert words in said
    assert len(said.strip().splitlines()) <= 2
