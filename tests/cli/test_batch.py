"""`renga batch` over a running server: what a person sees of a batch, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RunRenga, StartServer, scripted

LINE = {"custom_id": "a", "params": {"messages": [{"role": "user", "content": "one two"}]}}
BARE = {"max_tokens": 5, "messages": [{"role": "user", "content": "three"}]}


@pytest.fixture
def url(start_server: StartServer) -> str:
    """A running server."""
    return start_server(scripted()).url


def written(folder: Path, *lines: object) -> str:
    path = folder / "requests.jsonl"
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return str(path)


def test_a_file_becomes_a_batch_and_its_results_a_file(
    renga: RunRenga, url: str, tmp_path: Path
) -> None:
    file = written(tmp_path, LINE, "", BARE)
    made = renga("batch", "create", file, "--model", "haiku", "--wait", "--url", url)
    assert made.returncode == 0, made.stderr
    batch_id, summary = made.stdout.splitlines()
    assert summary.startswith("2 succeeded; $0.")
    shown = renga("batch", "show", batch_id, "--url", url).stdout
    assert shown.splitlines()[0] == f"{batch_id}: ended"
    assert batch_id in renga("batch", "list", "--url", url).stdout
    output = tmp_path / "results.jsonl"
    fetched = renga("batch", "results", batch_id, "-o", str(output), "--url", url)
    assert fetched.returncode == 0, fetched.stderr
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["custom_id"] for line in lines] == ["a", "line-3"]
    there = renga("batch", "results", batch_id, "-o", str(output), "--url", url)
    assert there.returncode == 2
    assert there.stderr.splitlines()[0] == f"renga: {output} is there"
    again = renga("batch", "results", batch_id, "-o", str(output), "--overwrite", "--url", url)
    assert again.returncode == 0
    assert renga("batch", "delete", batch_id, "--url", url).returncode == 0
    gone = renga("batch", "show", batch_id, "--url", url)
    assert gone.returncode == 2
    assert gone.stderr.strip() == f"renga: Message Batch {batch_id} not found."


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([LINE, "{"], ", line 2: it is not valid JSON"),
        ([LINE, "[]"], ", line 2: it is no JSON object"),
        ([LINE, LINE], ", line 2: custom_id 'a' is on line 1 too"),
        ([LINE, {"custom_id": 5, "params": {}}], ", line 2: custom_id is no string"),
        ([LINE, {"custom_id": "b", "params": 5}], ", line 2: params is no JSON object"),
        ([""], " holds no request"),
    ],
)
def test_a_bad_line_is_named_and_no_batch_is_made(
    renga: RunRenga, url: str, tmp_path: Path, lines: list[object], told: str
) -> None:
    file = written(tmp_path, *lines)
    found = renga("batch", "create", file, "--model", "haiku", "--url", url)
    assert found.returncode == 2
    assert found.stderr.splitlines()[0].startswith(f"renga: {file}{told}")
    assert "msgbatch" not in renga("batch", "list", "--url", url).stdout


def test_what_the_server_refuses_and_a_server_that_is_not_there_are_one_line(
    renga: RunRenga, url: str, tmp_path: Path
) -> None:
    file = written(tmp_path, {**LINE, "custom_id": "a b"})
    refused = renga("batch", "create", file, "-m", "haiku", "--url", url)
    assert refused.returncode == 2
    assert refused.stderr.startswith("renga: requests.0.custom_id: String should match pattern")
    without = renga("batch", "create", written(tmp_path, LINE), "--url", url)
    assert "line 1: it names no model" in without.stderr
    nobody = renga("batch", "list", "--url", "http://127.0.0.1:9")
    assert nobody.returncode == 2
    assert nobody.stderr.startswith("renga: cannot reach 127.0.0.1:9")
    missing = renga("batch", "create", str(tmp_path / "none.jsonl"), "-m", "haiku", "--url", url)
    assert "cannot read" in missing.stderr
