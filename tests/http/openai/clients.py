"""OpenAI's official client on an application in this process."""

from __future__ import annotations

import httpx2
import openai

from tests.http.served import Served


def client_of(served: Served) -> openai.AsyncOpenAI:
    """The package's client, with its strictest validation, on the application itself."""
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(served.http))
    return openai.AsyncOpenAI(
        base_url="http://localhost/v1",
        api_key="any",
        max_retries=0,
        http_client=http,
        _strict_response_validation=True,
    )
