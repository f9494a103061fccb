"""`renga keys` and `renga models`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


def test_a_key_has_a_name_scopes_and_an_end(renga: RunRenga):
    made = renga(
        "keys", "create", "--name", "ci", "--workspace", "build", "--scopes", "messages,usage",
        "--expires", "90d", "--json", config=scripted(),
    )  # fmt: skip
    key = json.loads(made.stdout)
    assert key["key"].startswith(key["hint"])
    assert (key["name"], key["workspace"]) == ("ci", "build")
    assert (key["scopes"], key["status"]) == (["messages", "usage"], "active")
    listed = json.loads(renga("keys", "list", "--json", config=scripted()).stdout)
    assert [k["expires_at"] for k in listed] == [key["expires_at"]]
    assert "key" not in listed[0]
    renga("keys", "disable", key["id"], config=scripted())
    renga("keys", "enable", key["id"], config=scripted())
    renga("keys", "rename", key["id"], "builds", config=scripted())
    again = json.loads(renga("keys", "list", "--json", config=scripted()).stdout)
    assert [(k["name"], k["status"]) for k in again] == [("builds", "active")]


def test_workspaces_are_made_listed_shown_and_archived(renga: RunRenga):
    made = renga("workspaces", "create", "team", config=scripted()).stdout
    renga("keys", "create", "alice", "--workspace", "team", config=scripted())
    listed = json.loads(renga("workspaces", "list", "--json", config=scripted()).stdout)
    assert [w["name"] for w in listed] == ["default", "team"]
    assert made.split()[0] == listed[1]["id"]
    shown = json.loads(renga("workspaces", "show", "team", "--json", config=scripted()).stdout)
    assert [key["name"] for key in shown["keys"]] == ["alice"]
    assert "team" in renga("workspaces", "list", config=scripted()).stdout
    renga("workspaces", "archive", listed[1]["id"], config=scripted())
    refused = renga("keys", "create", "bob", "--workspace", "team", config=scripted())
    assert (refused.returncode, "'team' is archived" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["keys", "create"], "a key has one name"),
        (["keys", "create", "a", "--scopes", "mesages"], "did you mean 'messages'?"),
        (["keys", "create", "a", "--expires", "soon"], "--expires soon: not a time"),
        (["keys", "create", "a", "--expires", "1999-01-01"], "expires_at: that is not a time"),
        (["keys", "enable", "key_1"], "there is no key 'key_1'"),
        (["workspaces", "create", "default"], "there is a workspace 'default' already"),
        (["workspaces", "archive", "default"], "cannot be archived"),
        (["workspaces", "show", "none"], "there is no workspace 'none'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_hint(renga: RunRenga, words: list[str], says: str):
    refused = renga(*words, config=scripted())
    assert refused.returncode == 2
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) <= 2


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
