"""The examples run: the demo on the shipped model, and on one that cannot do what it shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate import ROOT
from tests.conftest import scripted, write_config

WEIGHTS = ROOT / "src/renga/models/shipped/haiku/openvino_model.bin"


def demo(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), *args],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, **env},
    )


@pytest.mark.timeout(300)
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the weights of the shipped model are not here")
def test_the_demo_is_well_on_the_shipped_model():
    done = demo()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "all is well" in done.stdout


def test_the_demo_tells_what_was_wrong(tmp_path: Path):
    path = write_config(tmp_path, scripted(reply="no idea"))
    # Settings of a server of one's own, and a proxy, are no concern of the demo.
    nowhere = "http://127.0.0.1:9"
    done = demo("--config", str(path), RENGA_HOST="0.0.0.0", HTTP_PROXY=nowhere, ALL_PROXY=nowhere)
    assert done.returncode == 1
    assert "accuracy 0% is below 50%" in done.stdout
    assert "output_config.format" in done.stdout


def test_the_rows_of_the_demo_are_twenty_over_ten_labels():
    rows = [
        json.loads(line)
        for line in (ROOT / "examples/data/clinc150_20.jsonl").read_text("utf-8").splitlines()
    ]
    labels = [row["intent"] for row in rows]
    assert (len(rows), len(set(labels))) == (20, 10)
    assert {labels.count(label) for label in labels} == {2}
