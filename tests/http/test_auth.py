"""Keys: none yet, some, disabled ones, and which addresses may do without."""

from __future__ import annotations

import logging

import httpx
import pytest

from renga.errors import SetupError
from renga.http.auth import check_binding, is_loopback
from tests.http.served import HEADERS, asking


class Ring:
    def __init__(self, *, exists: bool) -> None:
        self._exists = exists

    async def any_exist(self) -> bool:
        return self._exists


async def test_until_the_first_key_any_value_is_the_default_workspace(echo):
    row = await echo.row(await echo.post(asking(), x_api_key="whatever"))
    assert (row.workspace, row.key_id) == ("default", None)


async def test_a_key_gives_its_workspace_and_any_other_value_is_refused(echo):
    made = await echo.app.keys.create("laptop", "team")
    row = await echo.row(await echo.post(asking(), x_api_key=made.plain))
    assert (row.workspace, row.key_id) == ("team", made.key.key_id)
    forged = made.plain[:-1] + ("0" if made.plain[-1] != "0" else "1")
    for wrong in ("whatever", forged, made.plain.upper(), made.key.hint):
        response = await echo.post(asking(), x_api_key=wrong)
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"


async def test_a_disabled_key_is_refused_also_when_it_was_the_only_one(echo):
    made = await echo.app.keys.create("laptop", "team")
    assert (await echo.post(asking(), x_api_key=made.plain)).status_code == 200
    await echo.app.keys.disable(made.key.key_id)
    assert (await echo.post(asking(), x_api_key=made.plain)).status_code == 401
    assert (await echo.post(asking(), x_api_key="whatever")).status_code == 401


async def test_the_first_key_closes_an_open_server_within_a_second(serve):
    now = 100.0
    served = await serve(ticks=lambda: now)
    assert (await served.post(asking())).status_code == 200
    await served.app.keys.create("laptop")
    now += 1.0
    assert (await served.post(asking())).status_code == 401


async def test_without_keys_another_machine_is_refused_even_through_a_proxy_here(echo):
    transport = httpx.ASGITransport(echo.http, client=("203.0.113.5", 4000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post("/v1/messages", json=asking(), headers=HEADERS)
        assert response.status_code == 401
        assert "renga keys create" in response.json()["error"]["message"]
        made = await echo.app.keys.create("laptop")
        headers = HEADERS | {"x-api-key": made.plain}
        response = await client.post("/v1/messages", json=asking(), headers=headers)
        assert response.status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8787", "127.0.0.1:8787", "[::1]:8787",
                                  "[::1]", ""])  # fmt: skip
async def test_without_keys_it_answers_under_this_machine_s_names(echo, host):
    assert (await echo.post(asking(), host=host)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "localhost.evil.example",
                                  "127.0.0.1.evil.example:80", "evil.example:localhost", "[", ":",
                                  "10.0.0.1:8787"])  # fmt: skip
async def test_without_keys_a_page_whose_name_points_here_is_refused(echo, host):
    refused = await echo.post(asking(), host=host)
    assert refused.status_code == 401
    assert "renga keys create" in refused.json()["error"]["message"]
    made = await echo.app.keys.create("laptop")
    assert (await echo.post(asking(), host=host, x_api_key=made.plain)).status_code == 200


async def test_no_key_is_logged_or_repeated(echo, caplog):
    await echo.app.keys.create("laptop")
    with caplog.at_level(logging.DEBUG):
        response = await echo.post(asking(), x_api_key="sk-renga-hunter2")
    assert "hunter2" not in caplog.text
    assert "hunter2" not in response.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost",
                                  "::ffff:127.0.0.1"])  # fmt: skip
async def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    await check_binding(host, Ring(exists=False))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.3", "renga.example", "", "testclient",
                                  "::ffff:10.0.0.1"])  # fmt: skip
async def test_a_public_address_needs_a_key_first(host):
    assert not is_loopback(host)
    await check_binding(host, Ring(exists=True))
    with pytest.raises(SetupError) as refused:
        await check_binding(host, Ring(exists=False))
    assert "renga keys create" in refused.value.hint
