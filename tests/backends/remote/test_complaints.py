"""What another server has against a request, asked before there is one."""

from __future__ import annotations

import pytest

from renga.app import reach
from renga.config import BackendConfig
from tests.backends.messages.replaying import replaying
from tests.upstreams.faulty import faulty


@pytest.mark.parametrize(("model", "complains"), [("upstream-model", False), ("gpt-x", True)])
async def test_a_model_that_is_not_listed_is_told_with_those_that_are(
    tmp_path, model: str, complains: bool
) -> None:
    async with faulty() as server:
        config = BackendConfig("far", "openai", model=model, urls=(f"{server.url}/v1",))
        health, complaint = await reach(config, tmp_path)
    assert health.ready
    assert (complaint is not None) == complains
    if complaint is not None:
        assert complaint.message == "backend 'far' lists no model 'gpt-x'; it has: upstream-model"


async def test_a_server_that_knows_the_model_has_no_complaint(tmp_path) -> None:
    async with replaying(models={"id": "claude-far-1"}) as server:
        config = BackendConfig("far", "messages", model="claude-far-1", urls=(server.url,))
        health, complaint = await reach(config, tmp_path)
    assert (health.ready, complaint) == (True, None)


async def test_one_that_is_not_there_is_told_by_its_health(tmp_path) -> None:
    async with faulty("refused") as server:
        config = BackendConfig("far", "messages", model="m", urls=(server.url,))
        health, complaint = await reach(config, tmp_path)
    assert (health.state, complaint) == ("restarting", None)
