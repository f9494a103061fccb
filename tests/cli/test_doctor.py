"""`renga doctor` says what would stop a start here, and nothing else does."""

from __future__ import annotations

import socket
from pathlib import Path

from renga.cli.doctor import check_memory, check_processor
from tests.conftest import RunRenga, StartServer, scripted
from tests.tiny_model import write_model


def stops(stdout: str) -> list[str]:
    return [line for line in stdout.splitlines() if line.startswith("STOP")]


def test_where_nothing_is_wrong_it_says_so(renga: RunRenga):
    done = renga("doctor", "--port", "0", config=scripted())
    assert (done.returncode, stops(done.stdout)) == (0, [])
    for name in (
        "python",
        "packages",
        "processor",
        "memory",
        "state folder",
        "database",
        "keys",
        "port",
    ):
        assert f"  {name}: " in done.stdout


OTHERS = """
[backends.here]
kind = "scripted"
[backends.gone]
kind = "messages"
urls = ["http://127.0.0.1:9"]
model = "claude-far-1"
[backends.behind]
kind = "messages"
urls = ["URL"]
model = "MODEL"
api_key_env = "BEHIND_KEY"
[backends.chat]
kind = "openai"
urls = ["URL/v1"]
model = "MODEL"
api_key_env = "BEHIND_KEY"
[tiers.haiku]
backends = ["here", "gone", "behind", "chat"]
"""


def test_other_servers_are_asked_whether_they_are_there_and_know_the_model(
    renga: RunRenga, start_server: StartServer
):
    url = start_server(scripted()).url
    config = OTHERS.replace("URL", url)
    known = config.replace("MODEL", "haiku")
    done = renga("doctor", "--port", "0", config=known, BEHIND_KEY="any")
    lines = done.stdout.splitlines()
    assert (done.returncode, stops(done.stdout)) == (0, [])
    assert any(line.startswith("note  backend gone: messages, ") for line in lines)
    assert any("refused" in line and "http://127.0.0.1:9" in line for line in lines)
    assert f"ok    backend behind: messages, haiku at {url}" in lines
    assert any(line.startswith("ok    backend chat: openai, haiku at ") for line in lines)
    assert "ok    keys of backends: BEHIND_KEY" in lines
    strange = config.replace("MODEL", "gpt-x")
    done = renga("doctor", "--port", "0", config=strange, BEHIND_KEY="any")
    assert done.returncode == 0
    assert "does not know the path or the model" in done.stdout


def test_a_key_that_is_named_and_not_there_would_stop_it(renga: RunRenga):
    config = OTHERS.replace("URL", "http://127.0.0.1:10").replace("MODEL", "haiku")
    done = renga("doctor", "--port", "0", config=config)
    assert done.returncode == 1
    (line,) = stops(done.stdout)
    assert "backends.behind.api_key_env names BEHIND_KEY, which is not set" in line


def test_other_servers_are_listed_by_where_they_are(renga: RunRenga):
    config = OTHERS.replace("URL", "http://127.0.0.1:10").replace("MODEL", "haiku")
    done = renga("models", config=config)
    assert "gone: claude-far-1 at http://127.0.0.1:9" in done.stdout
    assert "connects at start" in done.stdout


def test_a_port_in_use_would_stop_it(renga: RunRenga):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = renga("doctor", "--port", str(port), config=scripted())
    assert done.returncode == 1
    assert [str(port) in line for line in stops(done.stdout)] == [True]


def test_a_public_address_without_a_key_would_stop_it(renga: RunRenga):
    public = "[server]\nhost = '0.0.0.0'\nport = 0\n" + scripted()
    done = renga("doctor", config=public)
    assert done.returncode == 1
    assert [line.split()[1] for line in stops(done.stdout)] == ["keys:"]
    assert "renga keys create" in done.stdout
    renga("keys", "create", "alice", config=scripted())
    assert renga("doctor", config=public).returncode == 0


def test_a_broken_model_would_stop_it(renga: RunRenga, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    config = f'[backends.a]\nmodel = "{tmp_path / "empty"}"\n[tiers.haiku]\nbackends = ["a"]'
    done = renga("doctor", "--port", "0", config=config)
    assert done.returncode == 1
    assert "STOP  backend a" in done.stdout


def with_two(first: str, second: str) -> str:
    """Two backends of two tiers, each table as given."""
    tiers = '[tiers.haiku]\nbackends = ["a"]\n[tiers.opus]\nbackends = ["b"]'
    return f"[backends.a]\n{first}\n[backends.b]\n{second}\n{tiers}"


def test_a_broken_model_would_stop_it_where_the_others_wait_to_be_loaded(renga: RunRenga):
    waiting = "kind = 'scripted'\nload = false"
    done = renga("doctor", "--port", "0", config=with_two("model = 'gone/away'", waiting))
    assert done.returncode == 1
    assert "STOP  backend a" in done.stdout


def test_a_broken_model_that_is_not_loaded_at_start_is_a_remark(renga: RunRenga):
    waiting = "model = 'gone/away'\nload = false"
    done = renga("doctor", "--port", "0", config=with_two(waiting, waiting))
    assert (done.returncode, stops(done.stdout)) == (0, [])
    assert done.stdout.count("note  backend") == 2


def test_a_broken_tokenizer_would_stop_it(renga: RunRenga, tmp_path: Path):
    folder = write_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    config = f"[backends.a]\nmodel = '{folder}'\n[tiers.haiku]\nbackends = ['a']"
    done = renga("doctor", "--port", "0", config=config)
    assert done.returncode == 1
    assert "tokenizer.json is no tokenizer" in stops(done.stdout)[0]


def test_a_damaged_database_would_stop_it(renga: RunRenga, tmp_path: Path):
    renga("ask", "hi", config=scripted())
    database = tmp_path / "home" / "renga.db"
    content = bytearray(database.read_bytes())
    content[200:] = b"\xff" * (len(content) - 200)
    database.write_bytes(content)
    done = renga("doctor", "--port", "0", config=scripted())
    assert done.returncode == 1
    assert "renga.db" in stops(done.stdout)[0]


def test_a_configuration_that_cannot_be_read_would_stop_it(renga: RunRenga):
    done = renga("doctor", config="[tires.haiku]")
    assert done.returncode == 1
    assert "did you mean 'tiers'?" in done.stdout


def test_an_old_processor_is_a_remark(tmp_path: Path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu sse2 sse4_2\n")
    assert check_processor(tmp_path / "cpuinfo").verdict == "slow"


def test_little_memory_is_a_remark(tmp_path: Path):
    (tmp_path / "meminfo").write_text("MemTotal: 2000000 kB\nMemAvailable: 500000 kB\n")
    assert check_memory(tmp_path).verdict == "slow"
