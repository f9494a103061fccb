"""The official SDK's tool runner, against a running server."""

from __future__ import annotations

import anthropic
import pytest

from tests.conftest import StartServer, scripted


def test_a_thread_is_refused_by_the_name_that_clients_act_on(start_server: StartServer) -> None:
    client = anthropic.Anthropic(
        base_url=start_server(scripted()).url, api_key="any", max_retries=0
    )
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.beta.messages.create(
            model="haiku",
            max_tokens=9,
            messages=[{"role": "user", "content": "Hi"}],
            thread={"type": "create"},
        )
    assert refused.value.body["error"]["details"] == {  # type: ignore[index]
        "error_code": "thread_unsupported_request"
    }


def test_the_runner_goes_on_without_a_thread(start_server: StartServer) -> None:
    """It asks for one first, and by default."""
    server = start_server(scripted(reply="Good morning to you."))
    client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0)
    runner = client.beta.messages.tool_runner(
        model="haiku",
        max_tokens=50,
        messages=[{"role": "user", "content": "Good morning"}],
        tools=[],
    )
    answer = runner.until_done()
    assert answer.content[0].text == "Good morning to you."  # type: ignore[union-attr]
