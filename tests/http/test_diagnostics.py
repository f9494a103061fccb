"""`diagnostics` over the wire: on message_start, in the message, and null where nobody asked."""

from __future__ import annotations

import pytest

from tests.http.served import asking, events_of


@pytest.mark.parametrize("stream", [False, True])
async def test_the_reason_stands_in_the_message_and_on_its_start(echo, stream):
    async def ask(text: str, previous: str | None):
        body = asking(text, diagnostics={"previous_message_id": previous}, stream=stream)
        response = await echo.post(body)
        assert response.status_code == 200
        message = events_of(response.content)[0][1]["message"] if stream else response.json()
        return message["id"], message["diagnostics"]

    first, told = await ask("one", None)
    assert told is None
    second, told = await ask("one", first)
    assert told is None
    _, told = await ask("two", second)
    changed = {"type": "messages_changed", "cache_missed_input_tokens": 0}
    assert told == {"cache_miss_reason": changed}
    _, told = await ask("two", "msg_unknown")
    assert told == {"cache_miss_reason": {"type": "previous_message_not_found"}}


async def test_diagnostics_are_null_where_nobody_asked(echo):
    assert (await echo.post(asking())).json()["diagnostics"] is None


async def test_tiers_that_one_backend_serves_share_its_cache(serve):
    served = await serve(haiku={}, opus={})
    first = (await served.post(asking(diagnostics={}))).json()["id"]
    follow = {"previous_message_id": first}
    for model, kind in (("claude-haiku-4-5", None), ("sonnet", "model_changed")):
        message = (await served.post(asking(model=model, diagnostics=follow))).json()
        told = message["diagnostics"]
        assert (told and told["cache_miss_reason"]["type"]) == kind
