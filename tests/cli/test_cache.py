"""`renga cache diff`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_refusals import assert_refused
from tests.conftest import RunRenga, scripted


def write(folder: Path, name: str, text: str, **fields: Any) -> str:
    system = [{"type": "text", "text": "rules " * 200, "cache_control": {"type": "ephemeral"}}]
    turns = [{"role": "user", "content": text}]
    body = {"model": "haiku", "max_tokens": 5, "system": system, "messages": turns, **fields}
    (folder / name).write_text(json.dumps(body))
    return name


def test_two_prompts_that_part_are_shown_side_by_side(renga: RunRenga, tmp_path: Path):
    first = write(tmp_path, "a.json", "Where is order 17?")
    second = write(tmp_path, "b.json", "Where is order 18?")
    done = renga("cache", "diff", first, second)
    assert (done.returncode, done.stderr) == (1, "")
    assert "whole blocks" in done.stdout
    assert done.stdout.count("goes on in messages.0.content.0") == 2
    assert "order 1' | '7?" in done.stdout
    assert "order 1' | '8?" in done.stdout
    mark = next(line for line in done.stdout.splitlines() if line.startswith("system.0"))
    assert mark.split()[:2] == ["system.0", "5m"]
    assert int(mark.split()[-1].replace(",", "")) > 64


def test_equal_prompts_are_equal_also_from_stdin(renga: RunRenga, tmp_path: Path):
    name = write(tmp_path, "a.json", "Hello")
    done = renga("cache", "diff", "-", name, input=(tmp_path / name).read_text())
    assert done.returncode == 0
    assert "One prompt begins with the other." in done.stdout


def test_thinking_that_another_server_signed_makes_no_difference(renga: RunRenga, tmp_path: Path):
    def turns(thoughts: str) -> list[dict[str, Any]]:
        thought = {"type": "thinking", "thinking": thoughts, "signature": "another's"}
        answer = [thought, {"type": "text", "text": "Hi."}]
        roles = ("user", "assistant", "user")
        contents: tuple[Any, ...] = ("Hello", answer, "So?")
        return [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]

    first = write(tmp_path, "a.json", "", messages=turns("one"))
    second = write(tmp_path, "b.json", "", messages=turns("two"))
    done = renga("cache", "diff", first, second)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_conversation_that_a_server_would_refuse_is_refused_in_its_words(
    renga: RunRenga, tmp_path: Path
):
    lost = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}
    bad = write(tmp_path, "bad.json", "", messages=[{"role": "user", "content": [lost]}])
    assert_refused(renga("cache", "diff", bad, bad), "toolu_1")


def test_models_that_different_backends_serve_share_nothing(renga: RunRenga, tmp_path: Path):
    config = (
        '[backends.one]\n[backends.two]\n[tiers.haiku]\nbackends = ["one"]\n'
        '[tiers.opus]\nbackends = ["two"]\n'
    )
    first = write(tmp_path, "a.json", "Hello")
    second = write(tmp_path, "b.json", "Hello", model="opus")
    done = renga("cache", "diff", first, second, config=config)
    assert (done.returncode, done.stdout[:18]) == (1, "Nothing is shared:")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "model: Field required"),
        ('{"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}]}', "gpt-4o"),
        (None, "cannot read bad.json"),
    ],
)
def test_a_file_that_holds_no_request_is_one_line(
    renga: RunRenga, tmp_path: Path, content: str | None, words: str
):
    good = write(tmp_path, "a.json", "Hello")
    if content is not None:
        (tmp_path / "bad.json").write_text(content)
    assert_refused(renga("cache", "diff", good, "bad.json"), words)


def test_a_backend_without_a_cache_has_nothing_to_compare(renga: RunRenga, tmp_path: Path):
    name = write(tmp_path, "a.json", "Hello")
    assert_refused(renga("cache", "diff", name, name, config=scripted()), "scripted")


def test_only_one_request_comes_from_stdin(renga: RunRenga):
    assert_refused(renga("cache", "diff", "-", "-", input="{}"), "only one")
