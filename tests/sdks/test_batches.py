"""The official SDK, old and new, has a batch answered, strictly validated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartServer, scripted
from tests.sdks.releases import RELEASES, installed, use

SCRIPT = Path(__file__).with_name("use_batches.py")

pytestmark = pytest.mark.timeout(400)  # a release is downloaded once


@pytest.mark.parametrize("release", RELEASES)
def test_a_batch_lives_from_its_creation_to_its_deletion(
    release: str, start_server: StartServer
) -> None:
    installed(release)
    found = use(release, start_server(scripted()).url, "default", SCRIPT)
    assert found["sdk"] == release
    for way in (found["stable"], found["beta"]):
        assert way["made"]["processing_status"] == "in_progress"
        assert way["made"]["request_counts"]["processing"] == 6
        counts = way["ended"]["request_counts"]
        assert (counts["succeeded"], counts["errored"]) == (5, 1)
        lines = {line["custom_id"]: line["result"] for line in way["lines"]}
        assert lines.keys() == {"r0", "r1", "r2", "r3", "r4", "wrong"}
        assert lines["r3"]["message"]["content"][0]["text"] == "words 3"
        assert lines["r3"]["message"]["usage"]["service_tier"] == "batch"
        assert lines["wrong"]["error"]["error"]["type"] == "not_found_error"
        assert [name.removeprefix("Beta") for name in way["types"]] == [
            "MessageBatchErroredResult", "MessageBatchSucceededResult",
        ]  # fmt: skip
        assert way["canceled"]["processing_status"] in ("canceling", "ended")
        assert len(way["listed"]) == 2
        assert {one["type"] for one in way["deleted"]} == {"message_batch_deleted"}
        assert way["gone"] == "NotFoundError"
