"""A small GGUF model of random weights, with the shipped one's template."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import write_gguf, write_model
from training.vocabulary import TEMPLATE


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(write_model(tmp_path_factory.mktemp("tiny"), template=TEMPLATE))
