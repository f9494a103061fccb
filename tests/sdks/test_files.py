"""The official SDK, old and new, uploads files and asks about them, strictly validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer, scripted
from tests.sdks.releases import RELEASES, installed, use

SCRIPT = Path(__file__).with_name("use_files.py")

pytestmark = pytest.mark.timeout(400)  # a release is downloaded once


@pytest.fixture(params=RELEASES)
def found(request: pytest.FixtureRequest, start_server: StartServer) -> dict[str, Any]:
    """What one release found."""
    installed(request.param)
    reply = "The tower was built in 1889. Nobody lives in it."
    return use(request.param, start_server(scripted(reply=reply)).url, "default", SCRIPT)


def test_files_are_uploaded_listed_and_deleted_and_their_answers_cited(
    found: dict[str, Any],
) -> None:
    ways = [found[name] for name in ("stable", "beta") if found[name] is not None]
    assert ways
    for way in ways:
        made = way["made"]
        assert [file["filename"] for file in made] == ["0.txt", "1.txt", "2.txt"]
        assert way["found"] == made[0]
        assert way["listed"] == [file["id"] for file in reversed(made)]  # over two pages
        assert way["download"]["status"] == 400
        assert [file["id"] for file in way["deleted"]] == [file["id"] for file in made]
        assert way["gone"] == {"class": "NotFoundError", "status": 404}

    asked = found["asked"]
    whole, streamed = asked["whole"], asked["streamed"]
    assert whole["content"] == streamed["content"]
    cited, rest = whole["content"]
    assert (cited["text"], rest["text"]) == ("The tower was built in 1889. ", "Nobody lives in it.")
    (citation,) = cited["citations"]
    assert citation["cited_text"] == "It was built in 1889."
    assert (citation["document_title"], citation["file_id"]) == ("Tower", asked["file"])
    assert "citation" in asked["events"]
    assert asked["next"]["stop_reason"] == "end_turn"
    if found["sdk"] == RELEASES[-1]:
        assert found["stable"]["download"]["class"] == "FileNotDownloadableError"
