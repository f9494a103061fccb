"""Recommended models: the table is sound, and only what fits is named."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from renga import cli
from renga.config import TIER_NAMES
from renga.machine import available_memory
from renga.models.names import ModelName
from renga.models.recommend import WINDOW, fitting, read_table

PERMISSIVE = {"apache-2.0", "mit"}


def test_every_row_can_be_pulled_by_its_name_and_used_by_anybody():
    _, rows = read_table()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        name = ModelName.parse(row.name)
        assert name.file or not row.is_gguf or "gpt-oss" in row.name
        assert row.license in PERMISSIVE
        assert row.tier in TIER_NAMES
        assert 0 < row.weights <= row.download
        assert row.about


def test_weights_are_what_the_parameters_take():
    """A byte for each where they become int8, half of it and up to a byte in GGUF."""
    for row in read_table()[1]:
        billions = float(row.parameters.partition("B")[0])
        least, most = (0.45, 0.95) if row.is_gguf else (0.95, 1.25)
        assert least <= row.weights / billions <= most, row.name


def test_each_tier_has_several_and_the_smallest_machine_has_one():
    _, rows = read_table()
    assert {row.tier for row in rows} == set(TIER_NAMES)
    assert all(sum(row.tier == tier for row in rows) >= 3 for tier in TIER_NAMES)
    assert fitting(rows, 1_200_000_000)


@pytest.mark.parametrize("gigabytes", [0.1, 1, 4, 8, 16, 32, 64, 128])
def test_only_what_fits_is_named_and_more_memory_takes_nothing_away(gigabytes: float):
    _, rows = read_table()
    fit = fitting(rows, int(gigabytes * 1e9))
    for row in rows:
        needed = row.weights * 1e9 + row.token * WINDOW
        assert (row not in fit) or needed <= gigabytes * 1e9
    assert set(fit) <= set(fitting(rows, int(gigabytes * 2e9)))
    assert fitting(rows, None) == rows


def test_the_command_names_what_fits_with_licences_and_the_date():
    done = CliRunner().invoke(cli.build(), ["models", "recommend"])
    date, rows = read_table()
    assert done.exit_code == 0
    assert f"Table of {date}" in done.stdout
    shown = {line.split()[0] for line in done.stdout.splitlines() if "/" in line}
    sure = {row.name for row in fitting(rows, int((available_memory() or 0) * 0.8))}
    assert sure <= shown
    assert "apache-2.0" in done.stdout
