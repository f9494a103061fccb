"""`renga keys` and `renga models`."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import RunRenga, StartServer, scripted


def test_a_key_is_made_listed_and_disabled(renga: RunRenga):
    made = renga("keys", "create", "alice", "--workspace", "support", config=scripted())
    plain = made.stdout.strip()
    listed = renga("keys", "list", config=scripted()).stdout.splitlines()[1]
    key_id = listed.split()[0]
    assert plain.startswith("sk-renga-")
    assert plain not in listed
    assert listed.split()[1:3] == ["alice", "support"]
    renga("keys", "disable", key_id, config=scripted())
    assert "disabled" in renga("keys", "list", config=scripted()).stdout


def test_a_newer_key_for_signatures_stands_beside_the_older(renga: RunRenga, tmp_path: Path):
    said = [renga("keys", "rotate-signing", config=scripted()).stdout for _ in range(2)]
    assert [line.split()[0] for line in said] == ["2", "3"]
    file = tmp_path / "home" / "thinking.keys"
    assert len(set(file.read_text().split())) == 3
    file.write_text("broken")
    refused = renga("keys", "rotate-signing", config=scripted())
    assert refused.returncode == 2
    assert str(file) in refused.stderr
    assert file.read_text() == "broken"


def test_models_says_what_serves_each_tier(renga: RunRenga):
    lines = renga("models", config=scripted(window=4096)).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "renga-opus-1",
        "renga-sonnet-1",
        "renga-haiku-1",
    ]
    assert "opus is not configured" in lines[1]
    assert lines[3].split()[-1] == "start"
    assert "4,096" in lines[3]


def test_models_of_a_server(renga: RunRenga, start_server: StartServer):
    served = start_server(scripted())
    lines = renga("models", "--against", served.url).stdout.splitlines()
    assert lines[-1].split() == ["renga-haiku-1", "haiku", "script", "32,768", "ready"]


def test_version(renga: RunRenga):
    from importlib.metadata import version

    assert renga("version").stdout == f"renga {version('renga')}\n"
