"""Tools, thinking, `parse` and the tool runner through the official SDK, old and new.

The model has random weights: whatever it writes, calls parse and match their schemas.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sdks.releases import RELEASES, installed, use
from tests.serving import serving
from tests.tiny_model import TURN_END, write_model
from training.vocabulary import TEMPLATE

CONFIG = """
[backends.small]
kind = "local"
model = "{model}"
[tiers.haiku]
backends = ["small"]
"""
NEW = "2026-10-21"

pytestmark = pytest.mark.timeout(400)  # a release is downloaded once


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server whose model calls and thinks at random."""
    folder = tmp_path_factory.mktemp("server")
    model = write_model(folder / "model", template=TEMPLATE)
    likeliest = {"eos_token_id": [TURN_END], "do_sample": False}
    (model / "generation_config.json").write_text(json.dumps(likeliest), encoding="utf-8")
    with serving(folder, CONFIG.format(model=model), home=folder / "home") as served:
        yield served.url


@pytest.fixture(scope="module", params=RELEASES)
def found(request: pytest.FixtureRequest, url: str) -> dict[str, Any]:
    """What one release found at the server."""
    installed(request.param)
    script = Path(__file__).with_name("use_tools.py")
    return use(request.param, url, "default", script)


def assert_switched(message: dict[str, Any]) -> None:
    """It is one whole call of the switch, and nothing else."""
    (call,) = message["content"]
    assert (call["type"], call["name"]) == ("tool_use", "switch")
    assert message["stop_reason"] == "tool_use"
    assert call["id"].startswith("toolu_")
    assert call["input"]["device"] in ("lamp", "heater")
    assert isinstance(call["input"]["on"], bool)
    assert set(call["input"]) == {"device", "on"}


def test_a_forced_call_is_whole_and_matches_its_schema(found):
    assert_switched(found["tools"]["forced"])
    assert_switched(found["tools"]["strict"])


def test_a_streamed_call_accumulates_to_the_same(found):
    tools = found["tools"]
    assert_switched(tools["streamed"])
    (call,), (streamed,) = tools["forced"]["content"], tools["streamed"]["content"]
    assert json.loads("".join(tools["pieces"])) == streamed["input"] == call["input"]


def test_no_call_is_made_where_none_is_allowed(found):
    kinds = {block["type"] for block in found["tools"]["none"]["content"]}
    assert kinds <= {"text"}


def test_a_turn_with_results_is_answered_and_counted_alike(found):
    usage = found["tools"]["followed"]["usage"]
    assert usage["input_tokens"] == found["tools"]["counted"]


def test_thinking_is_streamed_signed_counted_and_read_again(found):
    thinking = found["thinking"]
    thought = thinking["thought"]
    assert thought["content"][0]["type"] == "thinking"
    assert thought["content"][0]["signature"]
    spent = thought["usage"]["output_tokens_details"]["thinking_tokens"]
    assert 0 < spent <= 1_024
    assert spent <= thought["usage"]["output_tokens"]
    assert {"thinking", "signature", "content_block_stop"} <= set(thinking["kinds"])
    assert thinking["again"]["type"] == "message"


def test_thinking_that_was_changed_is_refused(found):
    assert "cannot be modified" in found["thinking"]["tampered"]


def test_omitted_thinking_is_a_signature_alone(found):
    block = found["thinking"]["hidden"]["content"][0]
    assert (block["type"], block["thinking"]) == ("thinking", "")
    assert block["signature"]


def test_the_tool_runner_calls_the_function(found):
    ((device, on),) = found["runner"]["calls"]
    assert device in ("lamp", "heater")
    assert isinstance(on, bool)


def test_parse_gives_an_object_of_the_type(found):
    assert found["parsed"]["device"] in ("lamp", "heater")
    assert isinstance(found["parsed"]["on"], bool)
