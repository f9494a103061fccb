"""`renga serve`: what it says, how soon, and how it ends."""

from __future__ import annotations

import threading
import time

import anthropic
import httpx
import pytest

from tests.conftest import RunRenga, StartServer, scripted

THREE_TIERS = """
[backends.script]
kind = "scripted"
[tiers.haiku]
backends = ["script"]
[tiers.sonnet]
backends = ["script"]
[tiers.opus]
backends = ["script"]
"""


def client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)


def ask(url: str, text: str = "Good morning") -> str:
    with client(url) as sdk:
        message = sdk.messages.create(
            model="claude-haiku-4-5",
            max_tokens=200,
            messages=[{"role": "user", "content": text}],
        )
    return "".join(b.text for b in message.content if b.type == "text")


def test_the_banner_names_address_tiers_and_the_line_to_paste(start_server: StartServer):
    served = start_server(scripted())
    assert f"  export ANTHROPIC_BASE_URL={served.url}" in served.banner
    assert "  sonnet  -> haiku: not configured" in served.banner
    assert "  opus    -> haiku: not configured" in served.banner
    assert any("ANTHROPIC_API_KEY" in line for line in served.banner)
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert ask(served.url) == "Good morning"


def test_a_tier_that_is_configured_is_served_by_itself(start_server: StartServer):
    assert not any("not configured" in line for line in start_server(THREE_TIERS).banner)


def test_it_is_ready_within_three_seconds(start_server: StartServer):
    # On a busy machine the best of three says what the program itself needs.
    times = []
    for _ in range(3):
        began = time.monotonic()
        start_server(scripted()).stop()
        times.append(time.monotonic() - began)
    assert min(times) < 3


def test_once_there_is_a_key_only_it_opens(renga: RunRenga, start_server: StartServer):
    served = start_server(scripted())
    assert ask(served.url) == "Good morning"
    key = renga("keys", "create", "alice", config=scripted()).stdout.strip()
    with anthropic.Anthropic(base_url=served.url, api_key=key, max_retries=0) as sdk:
        assert [m.id for m in sdk.models.list()][-1] == "renga-haiku-1"
    with pytest.raises(anthropic.AuthenticationError, match="key"):
        while True:  # a server that runs learns of the first key within a second
            ask(served.url)
            time.sleep(0.05)


def test_sigterm_lets_a_running_answer_finish(start_server: StartServer):
    text = "word " * 100
    served = start_server(scripted(reply=text.strip(), token_delay_ms=10))
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(ask(served.url)))
    asking.start()
    time.sleep(0.4)  # well inside the answer's 1.2 seconds
    code = served.stop()
    asking.join()
    assert (code, answers) == (0, [text.strip()])


def test_the_answer_is_found_in_the_ledger_by_its_request_id(
    renga: RunRenga, start_server: StartServer
):
    served = start_server(scripted())
    with client(served.url) as sdk:
        raw = sdk.messages.with_raw_response.create(
            model="haiku", max_tokens=10, messages=[{"role": "user", "content": "abcdefgh"}]
        )
    done = renga("ledger", "show", raw.headers["request-id"], config=scripted())
    assert '"cost_usd": "0.000012"' in done.stdout
    assert raw.headers["renga-cost-usd"] == "0.000012"
