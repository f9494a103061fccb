"""The small data folder, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.small_data import write_small_data


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"))
