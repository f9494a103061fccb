"""What stops a command is one line and a hint on stderr, with exit code 2, and never a trace."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunRenga, scripted, write_config

LOCAL = """
[backends.small]
kind = "local"
model = "{model}"
[tiers.haiku]
backends = ["small"]
"""


def assert_refused(done, *words: str) -> None:
    """One `renga:` line, one hint at most, nothing on stdout; the words are in it."""
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert lines[0].startswith("renga: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("  hint: "))
    for word in words:
        assert word in done.stderr


def test_a_missing_model_folder(renga: RunRenga):
    done = renga("serve", config=LOCAL.format(model="models/nowhere"))
    assert_refused(done, "models/nowhere", "no such folder", "renga models pull")


def test_an_unknown_model_name(renga: RunRenga):
    assert_refused(renga("ask", "hi", config=LOCAL.format(model="shipped:limerick")), "limerick")


def test_a_broken_model_folder(renga: RunRenga, tmp_path: Path):
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    done = renga("serve", "--port", "0", config=LOCAL.format(model=folder))
    assert_refused(done, str(folder), "hint")


def test_a_model_whose_weights_were_cut_off(renga: RunRenga, tmp_path: Path):
    from tests.tiny_model import write_model

    folder = write_model(tmp_path / "cut")
    weights = folder / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = renga("serve", "--port", "0", config=LOCAL.format(model=folder))
    assert_refused(done, "openvino_model.bin", "1,000 bytes")


def test_a_port_in_use(renga: RunRenga):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(renga("serve", "--port", str(port), config=scripted()), str(port), "in use")


def test_an_address_that_is_not_ours(renga: RunRenga):
    assert_refused(renga("serve", "--host", "192.0.2.7", config=scripted()), "192.0.2.7", "--host")


def test_a_public_address_without_keys(renga: RunRenga):
    done = renga("serve", "--host", "0.0.0.0", "--port", "0", config=scripted())
    assert_refused(done, "0.0.0.0", "renga keys create")


def test_a_home_that_is_a_file(renga: RunRenga, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    done = renga("serve", "--port", "0", config=scripted(), RENGA_HOME=str(tmp_path / "file"))
    assert_refused(done, str(tmp_path / "file"), "RENGA_HOME")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write every folder")
def test_a_home_that_may_not_be_read(renga: RunRenga, tmp_path: Path):
    home = tmp_path / "locked"
    home.mkdir(mode=0o000)
    done = renga("serve", "--port", "0", config=scripted(), RENGA_HOME=str(home))
    assert_refused(done, str(home), "RENGA_HOME")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody may write")
def test_a_home_that_cannot_be_made(renga: RunRenga):
    done = renga("ledger", "totals", config=scripted(), RENGA_HOME="/proc/renga")
    assert_refused(done, "/proc/renga", "RENGA_HOME")


def test_a_database_that_is_none(renga: RunRenga, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "renga.db").write_bytes(b"a text that is long enough to be no database at all\n" * 50)
    assert_refused(renga("keys", "list", config=scripted()), "renga.db", "not a SQLite database")


def test_bad_toml(renga: RunRenga):
    assert_refused(renga("serve", config="[server\nport = 1"), "settings.toml", "line 1")


def test_an_unknown_key_and_the_nearest_known_one(renga: RunRenga):
    assert_refused(renga("serve", config="[server]\nprot = 1"), "'prot'", "did you mean 'port'?")


def test_a_port_out_of_range(renga: RunRenga):
    assert_refused(renga("serve", "--port", "70000", config=scripted()), "70000", "65535")


def test_a_malformed_environment(renga: RunRenga):
    assert_refused(renga("models", config=scripted(), RENGA_PORT="many"), "RENGA_PORT", "number")


def test_a_configuration_that_is_not_there(renga: RunRenga):
    assert_refused(renga("models", "--config", "nowhere.toml"), "nowhere.toml")


def test_an_unknown_tier(renga: RunRenga):
    assert_refused(renga("ask", "hi", "--tier", "gpt-9", config=scripted()), "gpt-9", "haiku")


def test_an_unreadable_file_to_ask_about(renga: RunRenga):
    assert_refused(renga("ask", "what?", "-f", "nowhere.txt", config=scripted()), "nowhere.txt")


def test_a_schema_that_is_no_json(renga: RunRenga, tmp_path: Path):
    (tmp_path / "schema.json").write_text("{")
    done = renga("ask", "x", "--json", "schema.json", config=scripted())
    assert_refused(done, "schema.json", "not JSON")


def test_a_backend_that_is_overloaded(renga: RunRenga):
    assert_refused(renga("ask", "hi", config=scripted(fault="overloaded")), "overload")


def test_a_server_that_is_not_there(renga: RunRenga):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = renga("ask", "hi", "--against", f"http://127.0.0.1:{port}")
    assert_refused(done, f"127.0.0.1:{port}", "renga serve")


@pytest.mark.parametrize(
    "url", ["ftp://somewhere", "http://here:99999", "http://[::1", "http://a b/", "http://"]
)
def test_an_address_that_is_none(renga: RunRenga, url: str):
    assert_refused(renga("models", "--against", url), url, "http://host:8787")


@pytest.mark.parametrize("key", ["€", "a\nb"])
def test_a_key_that_no_header_carries(renga: RunRenga, key: str):
    done = renga("models", "--against", "http://127.0.0.1:9", ANTHROPIC_API_KEY=key)
    assert_refused(done, "ANTHROPIC_API_KEY")


def test_an_unknown_key(renga: RunRenga):
    assert_refused(renga("keys", "disable", "key_none", config=scripted()), "key_none")


def test_an_unknown_request(renga: RunRenga):
    assert_refused(renga("ledger", "show", "req_none", config=scripted()), "req_none")


def test_nothing_to_ask(renga: RunRenga):
    assert_refused(renga("ask", config=scripted()), "nothing to ask")


def test_the_script_is_installed(tmp_path: Path):
    assert shutil.which("renga", path=str(Path(os.sys.executable).parent)) is not None  # type: ignore[attr-defined]


def run_with_bytes(folder: Path, command: list[str | bytes], given: bytes) -> tuple[int, str, str]:
    config = str(write_config(folder, scripted()))
    done = subprocess.run(
        [sys.executable, "-m", "renga.cli", *command, "--config", config],
        input=given,
        capture_output=True,
        env=os.environ,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("command", "given"),
    [(["ask", "what is this?"], b"\x89PNG\xff"), (["ask", b"caf\xe9"], b""),
     (["ask", "hi", "--system", b"\xff"], b"")],
)  # fmt: skip
def test_bytes_that_are_no_text(tmp_path: Path, command: list[str | bytes], given: bytes):
    code, out, err = run_with_bytes(tmp_path, command, given)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "not UTF-8 text" in err


def test_a_line_of_a_chat_that_is_no_text_is_refused_and_the_next_is_answered(tmp_path: Path):
    code, out, err = run_with_bytes(tmp_path, ["chat"], b"caf\xe9\nhello\n")
    assert (code, out.split()) == (0, ["hello"])
    assert err == "renga: what was given is not UTF-8 text\n"


def test_an_empty_tier(renga: RunRenga):
    assert_refused(renga("ask", "hi", "--tier", "", config=scripted()), "model: ")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[aliases]\nours = 'haikuu'", "haikuu"),
        ("[prices.haiku]\ninptu = 1", "inptu"),
        ("[prices.haiku]\ninput = 0.0000001", "prices.haiku.input"),
        ("[prices.giant]\ninput = 1", "giant"),
    ],
)
def test_an_alias_of_nothing_or_a_price_that_is_none(renga: RunRenga, text: str, word: str):
    config = f"{scripted()}\n{text}"
    assert_refused(renga("serve", "--port", "0", config=config), word)
    checked = renga("doctor", "--port", "0", config=config)
    stops = [line for line in checked.stdout.splitlines() if line.startswith("STOP")]
    assert (checked.returncode, len(stops)) == (1, 1)
    assert word in stops[0]
