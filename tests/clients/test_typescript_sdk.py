"""The official TypeScript SDK under Node, against a running server with the shipped model."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.clients.packages import PROGRAMS, TYPESCRIPT_SDK, from_npm, node_tool

pytestmark = pytest.mark.timeout(400)  # it is downloaded once


@pytest.fixture(scope="module")
def found(url: str) -> dict[str, Any]:
    """What the SDK found at the server."""
    folder = from_npm("typescript-sdk", TYPESCRIPT_SDK)
    done = subprocess.run(
        [str(node_tool("node")), str(PROGRAMS / "use_typescript_sdk.mjs"), url],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def text_of(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def test_an_answer_comes_whole_and_streamed(found):
    assert found["created"]["model"] == "renga-haiku-1"
    assert text_of(found["created"]).strip()
    stream = found["streamed"]
    assert text_of(stream["message"]).strip()
    assert stream["events"][0] == "message_start"
    assert stream["events"][-1] == "message_stop"


def test_a_forced_call_is_a_block_with_two_integers(found):
    for message in (found["forced"], found["forcedStream"]["message"]):
        (call,) = message["content"]
        assert (call["type"], call["name"], message["stop_reason"]) == (
            "tool_use",
            "add",
            "tool_use",
        )
        assert set(call["input"]) == {"a", "b"}
        assert all(isinstance(value, int) for value in call["input"].values())


def test_parse_gives_an_object_of_the_schema(found):
    parsed = found["parsed"]["parsed_output"]
    assert isinstance(parsed["city"], str)
    assert isinstance(parsed["days"], int)


def test_thinking_comes_signed_and_goes_back(found):
    thought = found["thinking"]["message"]["content"][0]
    assert thought["type"] == "thinking"
    assert thought["signature"]
    usage = found["thinking"]["message"]["usage"]
    assert 0 < usage["output_tokens_details"]["thinking_tokens"] <= usage["output_tokens"]
    assert found["again"]["type"] == "message"


def test_the_tool_runner_computes_a_sum(found):
    assert found["tools"]["calls"] == [[17, 25]]
    assert "42" in text_of(found["tools"]["message"])


def test_counting_listing_and_errors_are_understood(found):
    assert found["count"]["input_tokens"] == found["created"]["usage"]["input_tokens"]
    assert found["models"] == ["renga-opus-1", "renga-sonnet-1"]
    assert (found["bad"]["class"], found["bad"]["status"]) == ("BadRequestError", 400)
    assert "max_tokens" in found["bad"]["message"]
    assert (found["unknown"]["class"], found["unknown"]["status"]) == ("NotFoundError", 404)
