"""Calls of a running server beside answers: JSON there and back, bodies and lines as streams.

Owns that a body is sent while it is made, and that a server which refuses it before its end is
heard. The address, the key and how refusals are told are `renga.cli.sources`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from typing import Any

from renga.cli.sources import TIMEOUT_SECONDS, There, refusal
from renga.config import environment
from renga.errors import ApiError, SetupError


class Server(There):
    """A server, asked one call at a time."""

    @classmethod
    def of_environment(cls, url: str) -> Server:
        """The server at `url`, under the key that the environment names."""
        return cls(url, environment().get("ANTHROPIC_API_KEY") or "renga")

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """What it answers to a call without a body. Raises RengaError or SetupError."""
        return self._object(method, path)

    def send(self, path: str, pieces: Iterator[bytes]) -> dict[str, Any]:
        """Post a body of JSON piece by piece; what it answers.

        Raises RengaError or SetupError; what `pieces` raises comes out of it, and the server then
        has no whole body.
        """
        connection = self._connect(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            # It may have refused what it had seen, and said why.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", self._prefix + path, pieces, self._headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise refusal(response)
            return self._json(response.read())
        except (OSError, HTTPException) as error:
            raise SetupError(
                f"cannot reach {self._host}:{connection.port}: {error}",
                "is the server running? `renga serve` starts one",
            ) from error
        finally:
            connection.close()

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of what is at `path`, as they come. Raises RengaError or SetupError."""
        connection = self._connect(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            yield from self._call(connection, "GET", path)
        except (OSError, HTTPException) as error:
            raise ApiError(f"the connection to {self._host} was lost: {error}") from error
        finally:
            connection.close()
