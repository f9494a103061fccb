"""`renga bench engine` from the command line to its files, on a small model with random weights."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from renga.bench.report import Report
from renga.bench.workloads import OWN, WORKLOADS
from tests.cli.test_refusals import assert_refused
from tests.conftest import RunRenga
from training.random_model import main as write_random_model

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tiny")
    assert write_random_model(["--shape", "tiny", "--out", str(folder)]) == 0
    return folder


def measured(folder: Path, out: Path, *options: str) -> tuple[str, Report]:
    """What a quick run of one round prints and writes."""
    command = [sys.executable, "-m", "renga.cli", "bench", "engine", "--model", str(folder)]
    command += ["--rounds", "1", "--quick", "--json", str(out / "bench.json"), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RENGA_HOME": str(out / "home")},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, msgspec.json.decode((out / "bench.json").read_bytes(), type=Report)


@pytest.fixture(scope="module")
def beside_genai(tiny, tmp_path_factory) -> tuple[str, Report, Path]:
    out = tmp_path_factory.mktemp("out")
    options = ["--against", "openvino-genai"]
    if importlib.util.find_spec("matplotlib"):
        options += ["--plot", str(out / "bench.png")]
    return *measured(tiny, out, *options), out


def test_each_engine_has_a_figure_for_what_both_can_do(beside_genai):
    _, report, _ = beside_genai
    assert report.engines == ["renga", "openvino-genai"]
    for workload in ("prefill", "decode", "burst"):
        assert workload in WORKLOADS
        for name, engines in report.figures[workload].items():
            if name not in ("one shared prefill s", "scheduler's share of a step"):
                assert set(engines) == {"renga", "openvino-genai"}, name
    for workload in ("lanes", "scoring"):
        assert workload in OWN
        assert all(set(e) == {"renga"} for e in report.figures[workload].values())


def test_figures_are_finite_and_positive(beside_genai):
    _, report, _ = beside_genai
    for figures in report.figures.values():
        for name, engines in figures.items():
            for figure in engines.values():
                assert 0 < figure.median < 1e9, name
                assert figure.rounds == [figure.median]
    assert report.machine.matrix_gflops > 1
    assert all(ceiling.share > 0 for ceiling in report.ceilings)


def test_the_tables_show_every_figure_and_say_what_was_asked(beside_genai):
    shown, report, _ = beside_genai
    for workload, figures in report.figures.items():
        assert f"{workload}: {report.workloads[workload][:40]}" in shown
        for name in figures:
            assert f"{workload}: {name}" in shown
    assert "matrix products" in shown
    assert "a try" in shown


def test_the_file_is_plain_json_with_the_machine_in_it(beside_genai):
    _, _, out = beside_genai
    read = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    assert read["machine"]["cores"] >= 1
    assert read["bars"] == []  # none is meant for a model of this size


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="matplotlib is an extra")
def test_the_plot_is_a_picture(beside_genai):
    _, _, out = beside_genai
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--against", "vllm"], ["'vllm'", "llama-server=URL"]),
        (["--against", "llama-server"], ["llama-server", "URL"]),
        (["--against", "llama-server=localhost:1"], ["localhost:1", "http://"]),
        (["--against", "openvino-genai,openvino-genai"], ["named twice"]),
        (["--against", "llamacpp=http://x"], ["only llama-server"]),
        (["--gguf", "nowhere.gguf"], ["nowhere.gguf"]),
        (["--only", "prefill,speed"], ["'speed'", "prefill, decode"]),
        (["--json", "nowhere/b.json"], ["--json", "nowhere"]),
        (["--plot", "bench.txt"], ["--plot"]),
        (["--model", "nobody"], ["nobody"]),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_runs(renga: RunRenga, tiny, options, words):
    done = renga("bench", "engine", "--model", str(tiny), *options)
    assert_refused(done, *words)


def test_a_server_that_is_not_there_is_one_line(renga: RunRenga, tiny):
    done = renga(
        *("bench", "engine", "--model", str(tiny), "--only", "prefill", "--rounds", "1"),
        *("--against", "llama-server=http://127.0.0.1:9"),
    )
    assert_refused(done, "http://127.0.0.1:9", "/v1/completions")


def test_a_model_without_a_gguf_cannot_meet_llamacpp(renga: RunRenga, tiny, tmp_path):
    for file in tiny.iterdir():
        if file.suffix != ".gguf":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    done = renga("bench", "engine", "--model", str(tmp_path), "--against", "llamacpp")
    assert_refused(done, "llamacpp")


@pytest.mark.slow
def test_the_wheel_of_llamacpp_is_measured_too(tiny, tmp_path):
    assert importlib.util.find_spec("xllamacpp"), "make test-all installs the bench extra"
    _, report = measured(tiny, tmp_path, "--against", "llamacpp", "--only", "prefill,burst")
    assert set(report.figures["prefill"]["prefill tok/s"]) == {"renga", "llamacpp"}
    assert set(report.figures["burst"]["warm total s"]) == {"renga", "llamacpp"}
