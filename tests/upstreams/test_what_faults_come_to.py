"""Each way of breaking, for both kinds of backends, plain and streamed: `docs/faults.md`, seen.

The rows are data of the documentation (`docs.faults`); what is compared with them goes through the
whole of a server, from its edge to its ledger, with a server behind it that really breaks so.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from docs.faults import ATTEMPTS, ROWS, Row
from renga.app import App
from renga.config import BackendConfig, Config, RetryConfig, TierConfig
from renga.ledger import AnswerRow
from tests.http.served import Served, asking, open_served
from tests.upstreams.faulty import FAULTS, INPUT_TOKENS, OUTPUT_TOKENS, WORDS, Faulty, faulty

TEXT = "".join(WORDS)
KINDS = {"haiku": "openai", "sonnet": "messages"}
PATIENCE = 20.0  # seconds; this machine may have much else to do


def backend(name: str, kind: str, server: Faulty, seconds: float) -> BackendConfig:
    url = f"{server.url}/v1" if kind == "openai" else server.url
    return BackendConfig(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        urls=(url,),
        model="upstream-model",
        window=8_192,
        timeout_s=seconds,
    )


async def serve(stack: AsyncExitStack, home: Path, fault: str, *, helped: bool) -> Served:
    """A server with a tier for each kind of backend, behind which `fault` is all there is.

    Where it is `helped`, each tier has a backend of the other kind behind that, which is well.
    """
    broken = await stack.enter_async_context(faulty(always=fault))
    good = await stack.enter_async_context(faulty())
    seconds = 0.5 if fault.startswith("slow") else PATIENCE
    backends = {kind: backend(kind, kind, broken, seconds) for kind in KINDS.values()}
    backends["second"] = backend("second", "messages", good, PATIENCE)
    tiers = {
        tier: TierConfig(name=tier, backends=(kind, "second") if helped else (kind,))
        for tier, kind in KINDS.items()
    }
    retry = RetryConfig(attempts=ATTEMPTS, base_ms=1.0)
    config = Config(home=home, backends=backends, tiers=tiers, retry=retry)
    app = await App.start(config)
    stack.push_async_callback(app.aclose)
    return await open_served(stack, app)


def test_every_fault_that_can_be_made_has_its_row() -> None:
    assert tuple(ROWS) == FAULTS


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_alone_a_fault_is_told_and_written_down(
    tmp_path: Path, fault: str, streamed: bool
) -> None:
    row = ROWS[fault]
    async with AsyncExitStack() as stack:
        served = await serve(stack, tmp_path, fault, helped=False)
        for tier, kind in KINDS.items():
            response = await served.post(asking(model=tier, stream=streamed))
            written = await served.row(response)
            tries, cause = row.seen(kind, streamed=streamed)
            if row.late and streamed:
                check_cut(response, row)
            else:
                check_refusal(response, row, kind)
            assert (written.status, written.error_type) == ("error", row.error)
            assert attempts(written) == [(kind, "error", cause)] * tries
            assert all(one.error and kind in one.error for one in written.attempts)


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_second_backend_makes_up_for_what_nobody_has_seen(
    tmp_path: Path, fault: str, streamed: bool
) -> None:
    row = ROWS[fault]
    async with AsyncExitStack() as stack:
        served = await serve(stack, tmp_path, fault, helped=True)
        for tier, kind in KINDS.items():
            response = await served.post(asking(model=tier, stream=streamed))
            written = await served.row(response)
            tries, cause = row.seen(kind, streamed=streamed)
            failed = [] if row.known else [(kind, "error", cause)] * tries
            if row.late and streamed:
                assert written.status == "error"
                assert attempts(written) == failed
                continue
            assert text_of(response, streamed) == TEXT
            assert response.headers["renga-backend"] == "second"
            assert response.headers.get("renga-attempts", "1") == str(len(failed) + 1)
            assert attempts(written) == [*failed, ("second", "ok", None)]
            # What the second one counted, and nothing for tries that were made up for.
            assert (written.status, written.backend, written.served_tier) == ("ok", "second", tier)
            assert (written.tokens.input, written.tokens.output) == (INPUT_TOKENS, OUTPUT_TOKENS)


def attempts(row: AnswerRow) -> list[tuple[str, str, str | None]]:
    return [(one.backend, one.status, one.cause) for one in row.attempts]


def check_refusal(response: httpx.Response, row: Row, kind: str) -> None:
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (row.status, row.error)
    assert f"backend '{kind}'" in error["message"]
    assert response.headers.get("retry-after", "") == row.retry_after
    assert response.headers.get("x-should-retry", "") == row.again


def check_cut(response: httpx.Response, row: Row) -> None:
    """A stream that began: its content as far as it came, then one error, and nothing more."""
    assert response.status_code == 200
    events = events_of(response)
    assert [one["type"] for one in events][:2] == ["message_start", "ping"]
    assert TEXT.startswith(said(events))
    assert said(events)
    assert events[-1]["error"]["type"] == row.error
    assert [one["type"] for one in events].count("error") == 1


def text_of(response: httpx.Response, streamed: bool) -> str:
    assert response.status_code == 200
    if not streamed:
        return str(response.json()["content"][0]["text"])
    events = events_of(response)
    kinds = [one["type"] for one in events]
    assert kinds.count("message_start") == kinds.count("message_stop") == 1
    return said(events)


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = (line for line in response.text.splitlines() if line.startswith("data: "))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def said(events: list[dict[str, Any]]) -> str:
    deltas = (one["delta"] for one in events if one["type"] == "content_block_delta")
    return "".join(delta["text"] for delta in deltas)


@pytest.mark.parametrize("most", [50, 5_000])
async def test_a_long_answer_is_streamed_to_us_also_where_nobody_waits_for_its_parts(
    tmp_path: Path, most: int
) -> None:
    async with AsyncExitStack() as stack:
        broken = await stack.enter_async_context(faulty())
        tiers = {t: TierConfig(name=t, backends=(kind,)) for t, kind in KINDS.items()}
        backends = {kind: backend(kind, kind, broken, PATIENCE) for kind in KINDS.values()}
        app = await App.start(Config(home=tmp_path, backends=backends, tiers=tiers))
        stack.push_async_callback(app.aclose)
        served = await open_served(stack, app)
        for tier in KINDS:
            response = await served.post(asking(model=tier, max_tokens=most))
            assert text_of(response, streamed=False) == TEXT
        assert [bool(one.body.get("stream")) for one in broken.served] == [most > 4_096] * 2
