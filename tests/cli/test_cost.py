"""`renga cost`, as it is typed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from renga.cli import build
from tests.conftest import RunRenga, scripted, write_config

CALLS = "--input 5000 --output 1000 --shared-prefix 50000 --requests 100"


def cost(line: str) -> str:
    done = CliRunner().invoke(build(), ["cost", *line.split()])
    assert done.exit_code == 0, done.output
    return done.stdout


def usd(line: str) -> Any:
    return json.loads(cost(f"estimate {line} --json"))["usd"]


def test_estimates_to_the_cent():
    assert usd("--tier haiku --input 10000 --output 2500") == 0.0225
    assert usd("--tier sonnet --input 10000 --output 2500") == 0.0675
    assert usd("--tier haiku --input 5000 --thinking 10000 --output 3000") == 0.070
    assert usd("--tier claude-sonnet-4-5 --input 5000 --thinking 10000 --output 3000") == 0.210
    assert usd(f"--tier haiku {CALLS} --no-cache") == 6.00
    assert round(usd(f"--tier haiku {CALLS}"), 2) == 1.56
    assert usd(f"--tier sonnet {CALLS} --no-cache") == 18.00
    assert usd("--tier haiku --input 55000 --output 1000 --requests 100") == 6.00
    assert usd("--tier haiku --input 1000000 --output 0 --batch") == 0.5


def test_an_estimate_reads_as_a_bill():
    shown = cost(f"estimate {CALLS}").splitlines()
    assert [line.split()[0] for line in shown[:5]] == [
        "class",
        "input",
        "cache_write_5m",
        "cache_read",
        "output",
    ]
    assert shown[-1].startswith("haiku: $1.56 ($1.5575 exactly); 50,000 shared tokens")


def test_tiers_side_by_side():
    told = json.loads(cost("compare --input 10000 --output 2500 --json"))
    assert told["requests_per_month"] == 100_000
    haiku, sonnet, opus = told["tiers"]
    assert (haiku["usd_per_call"], haiku["usd_per_month"]) == (0.0225, 2250)
    assert (sonnet["usd_per_call"], opus["saved_usd_per_month"]) == (0.0675, {})
    assert haiku["saved_usd_per_month"]["sonnet"] == 4500
    shown = cost("compare --input 10000 --output 2500").splitlines()
    assert shown[1].split() == ["haiku", "0.0225", "2,250.00", "4,500.00", "31,500.00"]
    assert shown[-1] == "100,000 requests a month"


def test_prices_of_the_configuration_are_the_prices(renga: RunRenga):
    config = """
[backends.b]
kind = "scripted"
[tiers.haiku]
backends = ["b"]
price = { input = 0.5, output = 2 }
"""
    done = renga(
        "cost", "estimate", "--input", "1000000", "--output", "1000000", "--json", config=config
    )
    assert json.loads(done.stdout)["usd"] == 2.5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("estimate --input -5 --output 1", "--input: '-5'; accepted: a whole number"),
        ("estimate --input 5 --output x", "--output: 'x'; accepted: a whole number"),
        ("estimate --input 5 --output 1 --requests 0", "--requests: '0'; accepted"),
        ("estimate --input 5 --output 1 --tier small", "model: small (accepted: haiku"),
        ("estimate --input 5 --output 1 --1h --no-cache", "--1h: nothing is kept"),
        ("compare --input 5 --output 1 --requests-per-month 1.5", "--requests-per-month: '1.5'"),
    ],
)
def test_bad_numbers_are_one_line(line: str, words: str):
    done = CliRunner().invoke(build(), ["cost", *line.split()])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"renga: {words}")
    told = [line for line in done.stderr.splitlines() if not line.startswith("  hint: ")]
    assert len(told) == 1
    assert done.stdout == ""


@pytest.mark.timeout(180)  # six commands, each of which opens the database, and one draws
def test_a_report_and_a_check_of_what_was_answered(tmp_path: Path):
    config = str(write_config(tmp_path, scripted(cost_per_hour=3.6)))

    def run(*args: str) -> Result:
        return CliRunner().invoke(build(), [*args, "--config", config])

    assert run("ask", "one two three").stdout.strip() == "one two three"
    told = json.loads(run("cost", "report", "--by", "tier,day", "--json").stdout)
    [row] = told["rows"]
    assert (row["tier"], row["answers"]) == ("haiku", 1)
    million = row["input_tokens"] * 1 + row["output_tokens"] * 5
    assert float(row["cost_usd"]) == million / 10**6 > 0
    assert float(row["own_cost_usd"]) > 0
    shown = run("cost", "report", "--by", "backend", "--plot", str(tmp_path / "p.png"))
    assert shown.stdout.splitlines()[1].split()[:3] == ["script", "1", "1"]
    assert (tmp_path / "p.png").exists()
    checked = run("cost", "check")
    assert checked.stdout == f"1 answer and 1 attempt: all adds up, to ${row['cost_usd']}\n"
    assert checked.exit_code == 0
    plain = sqlite3.connect(tmp_path / "home" / "renga.db")
    plain.execute("UPDATE answers SET cost_pico = 1")
    plain.commit()
    plain.close()
    checked = run("cost", "check")
    assert checked.exit_code == 1
    first, last = checked.stdout.splitlines()
    assert first.endswith(f"costs 1 pico-dollars; tokens times prices are {million * 10**6}")
    assert last == "1 answer and 1 attempt: 1 difference"


def test_a_report_by_what_there_is_not_is_one_line():
    refused = CliRunner().invoke(build(), ["cost", "report", "--by", "tier,colour"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("renga: --by: 'colour'; accepted: some of tier, key, day")
