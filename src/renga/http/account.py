"""What every answer to a caller says of its account: organization and workspace.

Owns the headers' names and forms.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from starlette.requests import Request

from renga.caller import Caller
from renga.http.versions import printable

HEADERS = "renga.headers"  # their place in the ASGI scope: the door puts them on any response


class Account:
    """The headers of one server."""

    def __init__(self, *, home: Path) -> None:
        # The API's is a UUID. One installation is one organization, and its folder tells it.
        self._organization = str(uuid.uuid5(uuid.NAMESPACE_URL, f"renga:{home}"))

    def headers(self, caller: Caller) -> dict[str, str]:
        """What an answer to `caller` carries, be it an error."""
        return {
            "anthropic-organization-id": self._organization,
            "anthropic-workspace-id": printable(caller.workspace),
        }

    def note(self, request: Request, caller: Caller) -> None:
        """Have the door put them on the response to `request`."""
        found = self.headers(caller).items()
        request.scope[HEADERS] = [(name.encode(), value.encode()) for name, value in found]
