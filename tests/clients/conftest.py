"""One server for all foreign clients: the shipped model behind every tier, in its own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import serving

CONFIG = """
[backends.small]
kind = "local"
model = "shipped:haiku"
window = 131_072
[tiers.haiku]
backends = ["small"]
[tiers.sonnet]
backends = ["small"]
[tiers.opus]
backends = ["small"]
"""


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server that answers with the shipped model."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, CONFIG, home=folder / "home") as served:
        yield served.url
