"""A function of a row: a server of the Messages API, asked what a template makes of it.

Owns which of its refusals are a row's outcome, which are waited out, and which end the job because
every row would be told the same. A server that was never heard ends the job at once; one that
goes away is waited for. What a server answered and the kill of this process came before
is asked again: only the server's own ledger knows of it.
"""

from __future__ import annotations

import asyncio
import json
import random
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from pydantic import TypeAdapter, ValidationError

from renga.bulk.asking import MOST_WAITS, TRIES, Sleep, Spent, backoff, text_of_message
from renga.bulk.files import Row
from renga.bulk.jobs import Keep, Trial
from renga.bulk.prompts import Question, RowFault
from renga.errors import SetupError
from renga.types import Message

TIMEOUT_SECONDS: Final = 600.0

_MESSAGE: Final[TypeAdapter[Message]] = TypeAdapter(Message)
_FULL: Final = (429, 503, 529)
_HOPELESS: Final = (401, 402, 403, 404)


class Elsewhere:
    """Call it with a row, inside `async with`. Raises SetupError where no row could be answered."""

    def __init__(
        self,
        url: str,
        key: str,
        question: Question,
        *,
        most: int,
        rng: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.spent = Spent(cost_known=False)
        if not (key.isascii() and key.isprintable()):
            raise SetupError("ANTHROPIC_API_KEY holds characters that no key has")
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1/messages"
        self._headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        self._question, self._most = question, most
        self._rng, self._sleep = rng or random.Random(), sleep
        self._heard = False
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._most),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, row: Row, keep: Keep | Trial) -> None:
        """Have `row` answered and keep what comes of it."""
        try:
            body = self._question.body(row)
        except RowFault as fault:
            keep.fault(str(fault))
            return
        failures = waits = 0
        while not keep.kept:
            status, found, retry_after = await self._post(body)
            if status == 200:
                self._keep(found, keep)
            elif status in _FULL or status == 0:
                waits += 1
                if waits > MOST_WAITS:
                    raise SetupError(f"{self._url}: {_words(status, found)}", "run it again later")
                await self._sleep(backoff(waits, retry_after, self._rng))
            elif status in _HOPELESS:
                raise SetupError(f"{self._url}: {_words(status, found)}", _hint(status))
            elif status < 500 or failures + 1 >= TRIES:
                keep.fault(_words(status, found))
            else:
                failures += 1
                await self._sleep(backoff(failures, retry_after, self._rng))

    async def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float | None]:
        """Status (0: it cannot be reached), body, and the seconds of its `retry-after`."""
        assert self._session is not None, "used inside `async with`"
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as response:
                self._heard = True
                text = response.headers.get("retry-after", "")
                return response.status, await response.read(), _seconds(text)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise SetupError(
                f"--against {self._url}: not a server's address", "such as http://host:8787"
            ) from error
        except aiohttp.ClientConnectorError as error:
            if not self._heard:  # it is not on its way back: nothing was ever there
                raise SetupError(
                    f"cannot reach {self._url}: {error.strerror or error}",
                    "is the server running? `renga serve` starts one",
                ) from error
            return 0, str(error).encode(), None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, str(error).encode(), None

    def _keep(self, found: bytes, keep: Keep | Trial) -> None:
        try:
            message = _MESSAGE.validate_json(found)
        except ValidationError as error:
            raise SetupError(
                f"{self._url} does not answer as a server of this API does", str(found[:200])
            ) from error
        self.spent.add(message)
        try:
            keep.value(self._question.shape.read(text_of_message(message)))
        except RowFault as fault:
            keep.fault(str(fault))


def _seconds(text: str) -> float | None:
    try:
        return min(60.0, max(0.0, float(text)))
    except ValueError:
        return None


def _words(status: int, found: bytes) -> str:
    if status == 0:
        return f"it cannot be reached: {found.decode(errors='replace')}"
    try:
        return f"{json.loads(found)['error']['message']} ({status})"
    except (ValueError, KeyError, TypeError):
        return f"it answered {status}"


def _hint(status: int) -> str:
    if status in (401, 403):
        return "the key is taken from ANTHROPIC_API_KEY"
    return "check --against and --tier"
