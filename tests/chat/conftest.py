"""A tokenizer and a template on disk, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import write_words


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    return folder
