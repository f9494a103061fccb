"""The official SDK, old and new, against a running server, with its strictest validation on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import renga
from tests.sdks.releases import RELEASES, installed, use
from tests.serving import serving
from tests.tiny_model import TURN_END, write_model

TIERS = """
[backends.full]
kind = "scripted"
fault = "overloaded"
[backends.broken]
kind = "scripted"
reply = "this answer breaks off"
fault = "error"
fail_after = 2
[tiers.haiku]
backends = ["first"]
[tiers.sonnet]
backends = ["full"]
[tiers.opus]
backends = ["broken"]
[backends.first]
"""
SHIPPED = Path(renga.__path__[0], "models", "shipped", "haiku", "openvino_model.xml")
SERVED = ["scripted", "random weights", *(["shipped"] if SHIPPED.exists() else [])]
OLD, NEW = "2023-06-01", "2026-10-21"
OWN_VERSION = {"0.125.0": OLD, "1.17.0": OLD, "2.12.0": NEW}  # what a release sends by itself

pytestmark = pytest.mark.timeout(400)  # a release is downloaded once


def backend(name: str, folder: Path) -> str:
    """The settings of the backend that serves haiku."""
    if name == "scripted":
        return 'kind = "scripted"\nreply = "Your order is on its way."\n'
    if name == "random weights":
        model = write_model(folder / "model")
        likeliest = {"eos_token_id": [TURN_END], "do_sample": False}
        (model / "generation_config.json").write_text(json.dumps(likeliest), encoding="utf-8")
        return f'kind = "local"\nmodel = "{model}"\n'
    return 'kind = "local"\nmodel = "shipped:haiku"\n'


@pytest.fixture(scope="module", params=SERVED)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """(backend, URL) of a running server with that backend."""
    folder = tmp_path_factory.mktemp("server")
    config = TIERS + backend(request.param, folder)
    with serving(folder, config, home=folder / "home") as served:
        yield request.param, served.url


@pytest.fixture(scope="module", params=["its own version", "the other version"])
def spoken(request: pytest.FixtureRequest) -> str:
    """Which API version the SDK speaks."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=RELEASES)
def found(request: pytest.FixtureRequest, server: tuple[str, str], spoken: str) -> dict[str, Any]:
    """What one release found at the server, and under which circumstances."""
    release = request.param
    installed(release)
    own = OWN_VERSION[release]
    other = NEW if own == OLD else OLD
    version, header = (own, "default") if spoken == "its own version" else (other, other)
    served, url = server
    return {**use(release, url, header), "release": release, "version": version, "on": served}


def text_of(message: dict[str, Any]) -> str:
    (block,) = message["content"]
    text: str = block["text"]
    return text


def test_it_is_the_release_that_was_asked_for(found):
    assert found["sdk"] == found["release"]


def test_create_gives_a_message_with_our_headers(found):
    message, headers = found["created"], found["headers"]
    assert message["model"] == "renga-haiku-1"
    assert text_of(message).strip()
    assert headers["renga-tier"] == "haiku"
    assert headers["renga-backend"] == "first"
    usage = message["usage"]
    dollars = (usage["input_tokens"] * 1 + usage["output_tokens"] * 5) / 1e6
    assert float(headers["renga-cost-usd"]) == pytest.approx(dollars)


def test_a_stream_accumulates_to_a_message(found):
    message = found["streamed"]
    assert "".join(found["pieces"]) == text_of(message)
    assert message["stop_reason"] in ("end_turn", "max_tokens")
    assert message["usage"]["output_tokens"] >= 1
    assert found["async"].strip()
    if found["on"] != "shipped":  # whose answers are drawn
        assert text_of(message) == text_of(found["created"]) == found["async"]
        assert message == {**found["created"], "id": message["id"]}


def test_raw_events_come_in_the_documented_order(found):
    events = [name for name in found["events"] if name != "ping"]
    middle = ["content_block_delta"] * (len(events) - 5)
    assert events == [
        "message_start",
        "content_block_start",
        *middle,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert middle


def test_the_beta_namespace_works_and_names_what_was_ignored(found):
    assert text_of(found["beta"]).strip()
    assert found["beta_ignored"] == "warp-2030-01-01"


def test_counting_equals_what_the_stream_bills(found):
    assert found["count"]["input_tokens"] == found["streamed"]["usage"]["input_tokens"]


def test_a_prompt_is_warmed_and_read_and_a_miss_explained(found):
    warm, read, missed = (found["cache"][name] for name in ("warm", "read", "missed"))
    written = warm["usage"]["cache_creation_input_tokens"]
    assert (warm["content"], warm["stop_reason"]) == ([], "max_tokens")
    assert warm["usage"]["cache_creation"]["ephemeral_1h_input_tokens"] == written
    assert read["usage"]["cache_read_input_tokens"] == written
    assert (written > 0) == (found["on"] != "scripted")
    assert missed["usage"]["cache_read_input_tokens"] == 0
    assert warm["diagnostics"] is read["diagnostics"] is None
    reason = {"type": "system_changed", "cache_missed_input_tokens": written}
    assert missed["diagnostics"] == {"cache_miss_reason": reason}


def test_models_are_listed_over_pages_and_found_by_alias(found):
    assert found["models"] == ["renga-opus-1", "renga-sonnet-1", "renga-haiku-1"]
    assert found["model"]["id"] == "renga-haiku-1"
    assert found["model"]["max_input_tokens"] > 1000


@pytest.mark.parametrize(
    ("name", "cls", "status", "kind", "says"),
    [
        ("bad field", {"BadRequestError"}, 400, "invalid_request_error", "max_tokens: "),
        ("unknown model", {"NotFoundError"}, 404, "not_found_error", "model: gpt-4"),
        (
            "too large",
            {"ContentTooLargeError", "RequestTooLargeError", "APIStatusError"},
            413,
            "request_too_large",
            "32 MB",
        ),
        ("overloaded", {"OverloadedError"}, 529, "overloaded_error", "overload"),
        ("overloaded stream", {"OverloadedError"}, 529, "overloaded_error", "overload"),
    ],
)
def test_each_error_is_raised_as_the_class_that_callers_catch(found, name, cls, status, kind, says):
    error = found["errors"][name]
    assert error["class"] in cls
    assert (error["status"], error["type"]) == (status, kind)
    assert says in error["message"]
    assert error["same_id"]


def test_a_stream_that_breaks_off_raises(found):
    error = found["errors"]["cut stream"]
    assert error["type"] == "api_error"
    assert "scripted failure" in error["message"]


def test_sampling_fields_belong_to_the_older_version(found):
    answer = found["errors"]["sampling"]
    if found["version"] == OLD:
        assert answer == "message"
    else:
        assert "temperature: not part of API version 2026-10-21" in answer
