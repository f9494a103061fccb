"""Betas and fields beside the API's own: what has an effect, what is ignored and what refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from anthropic.types import AnthropicBetaParam

from renga.http.betas import BETAS, HARMLESS_FIELDS, INTERLEAVED, ineffective
from renga.workspaces import workspace_id
from tests.http.served import asking

# What Claude Code 2.1.330 sends.
CLAUDE_CODE = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "mid-conversation-tool-changes-2026-07-01,per-turn-control-2026-07-01,"
    "thinking-token-count-2026-05-13,advanced-tool-use-2025-11-20,effort-2025-11-24"
).split(",")


def test_every_beta_of_the_official_package_and_of_claude_code_is_known():
    literals = [part for part in get_args(AnthropicBetaParam) if part is not str]
    betas = {value for part in literals for value in get_args(part)}
    assert len(betas) > 50
    assert betas | set(CLAUDE_CODE) <= BETAS.keys()


def test_what_a_beta_does_is_said_once_for_each():
    assert all(beta.words and beta.effect for beta in BETAS.values())
    assert {beta.effect for beta in BETAS.values()} == {
        "always on",
        "changes the request",
        "nothing",
    }


async def test_betas_without_effect_are_named_and_others_are_not(echo):
    response = await echo.post(asking(), anthropic_beta=",".join(CLAUDE_CODE))
    assert response.headers["renga-ignored"].split(", ") == [
        "claude-code-20250219",
        "mid-conversation-tool-changes-2026-07-01",
        "thinking-token-count-2026-05-13",
    ]
    assert ineffective(CLAUDE_CODE) == response.headers["renga-ignored"].split(", ")
    response = await echo.post(asking(), anthropic_beta="prompt-caching-2024-07-31")
    assert "renga-ignored" not in response.headers


@pytest.mark.parametrize("beta", ["warp-2030-01-01", "warp-2024-01-01", "warp"])
async def test_a_field_beside_a_beta_that_nobody_knows_is_ignored_and_named(echo, beta):
    response = await echo.post(asking(warp=9), anthropic_beta=beta)
    assert response.status_code == 200
    assert response.headers["renga-ignored"] == f"{beta}, warp"


async def test_a_field_beside_known_betas_is_an_error_that_names_it(echo):
    response = await echo.post(asking(warp=9), anthropic_beta=",".join(CLAUDE_CODE))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("warp: Extra inputs are not permitted")


async def test_a_strict_server_refuses_an_unknown_beta_and_the_field_beside_it(serve):
    served = await serve(strict=True)
    response = await served.post(asking(), anthropic_beta="effort-2025-11-24, warp-9, warp-10")
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(
        "anthropic-beta: Unexpected value(s) `warp-9`, `warp-10` for the `anthropic-beta` header."
    )
    response = await served.post(asking(warp=9), anthropic_beta="effort-2025-11-24")
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("warp: ")
    assert (await served.post(asking(), anthropic_beta=",".join(BETAS))).status_code == 200


@pytest.mark.parametrize("name", sorted(HARMLESS_FIELDS))
@pytest.mark.parametrize("value", ["x", ["effort-2025-11-24"], {"a": 1}])
async def test_harmless_fields_are_ignored_and_named(echo, name, value):
    response = await echo.post(asking() | {name: value})
    assert response.status_code == 200
    assert response.headers["renga-ignored"] == name


async def test_between_tools_a_budget_may_be_larger_than_an_answer(echo):
    thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": 4_000}
    said = (await echo.post(asking(thinking=thinking))).json()["error"]["message"]
    assert said.startswith("thinking.budget_tokens: `max_tokens` must be greater than")
    response = await echo.post(asking(thinking=thinking), anthropic_beta=INTERLEAVED)
    assert "budget_tokens" not in response.text


async def test_every_answer_says_its_organization_and_its_workspace(echo):
    good = await echo.post(asking())
    wrong = await echo.post(asking(max_tokens=-1))
    counted = await echo.post({"model": "haiku", "messages": []}, "/v1/messages/count_tokens")
    for response in (good, wrong, counted):
        headers = response.headers
        assert headers["anthropic-workspace-id"] == workspace_id("default")
        assert len(headers["anthropic-organization-id"]) == 36
    assert good.headers["anthropic-organization-id"] == wrong.headers["anthropic-organization-id"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_claude_code_is_greeted_without_a_key(echo, method):
    response = await echo.client.request(method, "/api/hello", headers={"x-api-key": ""})
    assert response.status_code == 200
